# One machine on Exoscale, from the template that docs/clouds/exoscale.md registers.
# The key comes from EXOSCALE_API_KEY and EXOSCALE_API_SECRET. registry.yaml is the
# user-data, beside this file.

terraform {
  required_providers {
    exoscale = {
      source = "exoscale/exoscale"
    }
  }
}

provider "exoscale" {}

variable "zone" {
  type    = string
  default = "ch-dk-2"
}

variable "template" {
  type        = string
  description = "Name of the template, as it was registered."
}

variable "public_key" {
  type        = string
  description = "File with the SSH key of whoever may log in as debian."
  default     = "~/.ssh/id_ed25519.pub"
}

variable "admin_cidr" {
  type        = string
  description = "Network that may reach port 22, such as 192.0.2.0/24."
}

data "exoscale_template" "redoubt" {
  zone       = var.zone
  name       = var.template
  visibility = "private"
}

resource "exoscale_ssh_key" "admin" {
  name       = "redoubt-admin"
  public_key = file(pathexpand(var.public_key))
}

resource "exoscale_security_group" "registry" {
  name = "redoubt"
}

resource "exoscale_security_group_rule" "registry" {
  for_each          = { "22" = var.admin_cidr, "80" = "0.0.0.0/0", "443" = "0.0.0.0/0" }
  security_group_id = exoscale_security_group.registry.id
  type              = "INGRESS"
  protocol          = "TCP"
  cidr              = each.value
  start_port        = tonumber(each.key)
  end_port          = tonumber(each.key)
}

resource "exoscale_compute_instance" "registry" {
  zone               = var.zone
  name               = "registry"
  template_id        = data.exoscale_template.redoubt.id
  type               = "standard.small"
  disk_size          = 50
  ssh_key            = exoscale_ssh_key.admin.name
  security_group_ids = [exoscale_security_group.registry.id]
  user_data          = file("${path.module}/registry.yaml")

  # Another template would be another machine, and the images on the disk of this one would
  # be gone.
  lifecycle {
    ignore_changes  = [template_id]
    prevent_destroy = true
  }
}

output "address" {
  value = exoscale_compute_instance.registry.public_ip_address
}
