# One machine on Hetzner Cloud, from the snapshot that docs/clouds/hetzner.md makes.
# The token comes from HCLOUD_TOKEN. registry.yaml is the user-data, beside this file.

terraform {
  required_providers {
    hcloud = {
      source  = "hetznercloud/hcloud"
      version = "~> 1.45"
    }
  }
}

provider "hcloud" {}

variable "public_key" {
  type        = string
  description = "File with the SSH key of whoever may log in as debian."
  default     = "~/.ssh/id_ed25519.pub"
}

variable "admin_cidr" {
  type        = string
  description = "Network that may reach port 22, such as 192.0.2.0/24."
}

data "hcloud_image" "redoubt" {
  with_selector = "os=redoubt"
  most_recent   = true
}

resource "hcloud_ssh_key" "admin" {
  name       = "redoubt-admin"
  public_key = file(pathexpand(var.public_key))
}

resource "hcloud_firewall" "registry" {
  name = "redoubt"

  dynamic "rule" {
    for_each = { "22" = [var.admin_cidr], "80" = ["0.0.0.0/0", "::/0"], "443" = ["0.0.0.0/0", "::/0"] }
    content {
      direction  = "in"
      protocol   = "tcp"
      port       = rule.key
      source_ips = rule.value
    }
  }
}

resource "hcloud_server" "registry" {
  name         = "registry"
  server_type  = "cx23"
  location     = "fsn1"
  image        = data.hcloud_image.redoubt.id
  ssh_keys     = [hcloud_ssh_key.admin.id]
  firewall_ids = [hcloud_firewall.registry.id]
  user_data    = file("${path.module}/registry.yaml")

  # Another user-data or snapshot would be another machine, and the images on the disk of
  # this one would be gone. Change /etc/redoubt/config.yaml on the machine instead.
  lifecycle {
    ignore_changes  = [user_data, image, ssh_keys]
    prevent_destroy = true
  }
}

output "address" {
  value = hcloud_server.registry.ipv4_address
}
