package machine

// Network gives the machine a wire, as a cloud would: a pair of interfaces that
// are each other's cable, one with the machine's address.
func Network() []Plant {
	file := func(name, text string) Plant {
		return Plant{Path: "/etc/systemd/network/" + name, Data: []byte(text), Mode: 0o644}
	}
	return []Plant{
		file("05-test.netdev", "[NetDev]\nName=test0\nKind=veth\n[Peer]\nName=test1\n"),
		file("05-test0.network", "[Match]\nName=test0\n[Network]\nAddress="+Address+"/24\nIPv6DuplicateAddressDetection=0\n"),
		file("05-test1.network", "[Match]\nName=test1\n[Network]\nLinkLocalAddressing=no\n[Link]\nRequiredForOnline=no\n"),
	}
}

// Address is the machine's own, outside the loopback interface.
const Address = "10.77.0.2"

// Seed is a NoCloud seed: what cloud-init finds on the disk of a machine that
// was given user-data.
func Seed(userData string) []Plant {
	const dir = "/var/lib/cloud/seed/nocloud/"
	return []Plant{
		{Path: dir + "meta-data", Data: []byte("instance-id: i-test\nlocal-hostname: registry\n"), Mode: 0o600},
		{Path: dir + "user-data", Data: []byte(userData), Mode: 0o600},
	}
}
