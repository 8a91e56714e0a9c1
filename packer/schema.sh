#!/bin/sh
# Adds our key to cloud-init's schema of user-data: "cloud-init status" then has
# nothing to warn of, and "cloud-init schema" explains mistakes in our part. The
# diversion keeps the file through an update of cloud-init.
set -eu
schema=/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json
dpkg-divert --quiet --local --rename --divert "$schema.debian" --add "$schema"
redoubt schema --into "$schema.debian" >"$schema"
