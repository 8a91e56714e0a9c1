# The image of Redoubt. scripts/image runs this; by hand:
#   packer build -only=redoubt.redoubt-debian.image packer
packer {
  required_plugins {
    redoubt = {
      source  = "github.com/redoubt-registry/redoubt"
      version = ">= 0.1.0"
    }
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = "1.0.9"
    }
  }
}

variable "version" {
  description = "Version of the image: in its files' names, its root partition's label and its boot entry."
  type        = string
}

variable "sources" {
  description = "Lines of sources.list, to name a mirror of Debian; mmdebstrap's choice by default."
  type        = list(string)
  default     = []
}

variable "butane" {
  description = "The declaration of what belongs into the image."
  type        = string
  default     = "butane/appliance.bu"
}

variable "cache" {
  description = "Directory for bootstraps and scratch files."
  type        = string
  default     = ".cache/image"
}

variable "output" {
  description = "Directory for the image and the lists of what is in it."
  type        = string
  default     = ".cache/out"
}

variable "base" {
  description = "For source qemu.vm: the image that build \"base\" made."
  type        = string
  default     = ".cache/base/redoubt-base.qcow2"
}

variable "ssh_key" {
  description = "For source qemu.vm: the private key, beside its .pub, with which Packer logs in."
  type        = string
  default     = ".cache/base/key"
}

locals {
  repository = dirname(abspath(path.root))
  # Only source qemu.vm needs one.
  ssh_key_file   = "${abspath(var.ssh_key)}.pub"
  ssh_public_key = fileexists(local.ssh_key_file) ? trimspace(file(local.ssh_key_file)) : ""
  packages = [
    # The smaller of Debian's kernels: virtio, NVMe, AHCI, Hyper-V, Xen, and
    # VMware's pvscsi and vmxnet3 are in it; sound, graphics and Wi-Fi are not.
    "linux-image-cloud-amd64", "initramfs-tools", "zstd",
    "systemd-sysv", "systemd-repart", "systemd-resolved", "systemd-timesyncd",
    "libpam-systemd", "dbus", "udev", "kmod", "e2fsprogs", "netbase", "iproute2",
    # cloud-init finds many clouds' metadata over DHCP of its own.
    "cloud-init", "dhcpcd-base",
    "openssh-server", "sudo", "ca-certificates", "nftables", "redis-server",
    # For a person who logs in: an editor, a client of HTTP, and a name of the
    # machine that resolves whatever the network says, for sudo asks for it.
    "procps", "less", "nano", "vim-tiny", "curl", "libnss-myhostname",
  ]
}

source "redoubt-debian" "root" {
  version  = var.version
  title    = "Redoubt ${var.version}"
  suite    = "trixie"
  sources  = var.sources
  packages = local.packages
  exclude = [
    "/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/lintian/*",
    "/usr/share/bug/*", "/usr/share/locale/*", "/usr/share/i18n/*",
    # redis-server is a link to redis-check-rdb; the other copy is not needed.
    "/usr/bin/redis-check-aof", "/usr/bin/redis-benchmark", "/usr/bin/pzstd",
    # The kernel's drivers for laboratories, and for storage that is not ours.
    "/usr/lib/modules/*/kernel/drivers/comedi/*", "/usr/lib/modules/*/kernel/drivers/infiniband/*",
    "/usr/lib/modules/*/kernel/drivers/target/*",
    "/usr/lib/modules/*/kernel/fs/bcachefs/*", "/usr/lib/modules/*/kernel/fs/btrfs/*",
    "/usr/lib/modules/*/kernel/fs/ceph/*", "/usr/lib/modules/*/kernel/fs/smb/*",
    "/usr/lib/modules/*/kernel/fs/nfsd/*", "/usr/lib/modules/*/kernel/fs/orangefs/*",
    "/usr/lib/modules/*/kernel/net/ceph/*", "/usr/lib/modules/*/kernel/net/rds/*",
    "/usr/lib/modules/*/kernel/net/tipc/*", "/usr/lib/modules/*/kernel/net/dccp/*",
    "/usr/lib/modules/*/kernel/net/smc/*",
    # A virtual machine has no keyboards, mice or bridges to be told apart.
    "/usr/lib/udev/hwdb.d/*",
  ]
  include = ["/usr/share/doc/*/copyright"]
  files   = "${path.root}/base"
  enable  = ["systemd-networkd.service"]
  # Disks, and the media on which clouds hand over user-data: cloud-init looks
  # for those before other drivers are loaded.
  initrd_modules = [
    "virtio_pci", "virtio_blk", "virtio_scsi", "nvme", "ahci", "ata_piix", "sd_mod", "sr_mod", "isofs",
    "vmw_pvscsi", "hv_vmbus", "hv_storvsc", "xen_blkfront",
  ]
  # After a panic the machine starts again; both consoles tell what happens.
  kernel_options  = "rw console=tty0 console=ttyS0,115200 panic=10 quiet"
  partitions      = "${path.root}/repart.d"
  disk_size       = 10
  cache_directory = var.cache
}

# A booted machine, for those who build on a cloud: made from the base.
source "qemu" "vm" {
  disk_image       = true
  iso_url          = var.base
  iso_checksum     = "none"
  disk_size        = "10G"
  format           = "qcow2"
  vm_name          = "redoubt-vm.qcow2"
  output_directory = "${var.output}/vm"
  accelerator      = "tcg"
  cpu_model        = "qemu64"
  machine_type     = "pc"
  cpus             = 2
  memory           = 1024
  headless         = true
  net_device       = "virtio-net"
  disk_interface   = "virtio"
  qemuargs         = [["-serial", "file:${var.output}.console"]]
  cd_label         = "cidata"
  cd_content = {
    "meta-data" = "instance-id: packer\n"
    "user-data" = <<-EOF
      #cloud-config
      users:
        - name: packer
          shell: /bin/bash
          sudo: ALL=(ALL) NOPASSWD:ALL
          ssh_authorized_keys: ["${local.ssh_public_key}"]
    EOF
  }
  ssh_username         = "packer"
  ssh_private_key_file = var.ssh_key
  ssh_timeout          = "20m"
  # The last login: this removes the user as well.
  shutdown_command = "sudo /bin/sh /tmp/seal.sh"
  shutdown_timeout = "10m"
}

# Debian as the appliance needs it, without Redoubt.
build {
  name = "base"
  source "redoubt-debian.root" {
    name             = "base"
    image            = "redoubt-base"
    output_directory = var.output
  }
}

build {
  name = "redoubt"
  source "redoubt-debian.root" {
    name             = "image"
    image            = "redoubt"
    output_directory = var.output
    programs         = ["/usr/bin/redoubt"]
  }
  source "qemu.vm" {}

  provisioner "redoubt-butane" {
    file            = "${local.repository}/${var.butane}"
    files_directory = local.repository
    override = {
      vm = { elevate = "sudo" }
    }
  }

  # cloud-init learns the redoubt: key.
  provisioner "shell" {
    script = "${path.root}/schema.sh"
    override = {
      vm = { execute_command = "chmod +x {{.Path}}; sudo {{.Vars}} {{.Path}}" }
    }
  }

  # A machine that was booted knows things that an image must not. The script
  # runs as the machine's shutdown_command.
  provisioner "file" {
    only        = ["qemu.vm"]
    source      = "${path.root}/seal.sh"
    destination = "/tmp/seal.sh"
  }

  post-processor "checksum" {
    checksum_types = ["sha256"]
    output         = "${var.output}/SHA256SUMS"
  }
  post-processor "manifest" {
    output     = "${var.output}/packer-manifest.json"
    strip_path = true
  }
}
