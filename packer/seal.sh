#!/bin/sh
# Makes a booted machine an image again, and ends it: no identity, keys, logs or
# users of the build stay. The user who runs this goes too.
set -eu
cloud-init clean --logs --machine-id --seed
: >/etc/machine-id
rm -f /etc/ssh/ssh_host_* /etc/systemd/network/10-cloud-init-* /etc/sudoers.d/90-cloud-init-users
rm -f /etc/hostname /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald.service 2>/dev/null || :
find /var/log -type f -delete
userdel --force --remove packer 2>/dev/null || :
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-
sync
systemctl poweroff --no-block
