#!/bin/sh
# Makes a booted machine an image again, and ends it: no identity, keys, logs or
# users of the build stay. The user who runs this goes too.
set -eu
# What writes when it is stopped is stopped before its traces go.
systemctl stop redis-server.service systemd-random-seed.service systemd-journald.socket \
	systemd-journald-dev-log.socket systemd-journald.service 2>/dev/null || :
cloud-init clean --logs --machine-id --seed
: >/etc/machine-id
chmod 0444 /etc/machine-id
rm -rf /root/.ssh /var/tmp/* /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /etc/hostname /etc/ssh/ssh_host_* /etc/systemd/network/10-cloud-init-* /etc/sudoers.d/90-cloud-init-users
find /var/log ! -type d -delete
userdel --force --remove packer 2>/dev/null || :
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-
sync
systemctl poweroff --no-block
