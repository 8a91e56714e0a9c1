package machine

import "testing"

// How much a machine was held back is read from cpu.stat of either version of cgroups, and
// its group of cgroup v2 from proc.
func TestReadingControlGroups(t *testing.T) {
	for stat, want := range map[string]bool{
		"nr_periods 31\nnr_throttled 0\nthrottled_time 0\n":                           false, // v1
		"nr_periods 31\nnr_throttled 10\nthrottled_time 2750000\n":                    true,
		"usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 7\nnr_throttled 7\n":    true, // v2
		"usage_usec 9\nuser_usec 5\nsystem_usec 4\ncore_sched.force_idle_usec 0\n":    false,
		"usage_usec 9\nnr_periods 7\nnr_throttled 0\nthrottled_usec 0\nnr_bursts 0\n": false,
	} {
		if throttled(stat) != want {
			t.Errorf("%q: not %v", stat, want)
		}
	}
	for text, want := range map[string]string{
		"0::/redoubt-1/payload/init.scope\n":          "redoubt-1",
		"4:cpu:/x\n1:name=systemd:/\n0::/redoubt-2\n": "redoubt-2",
		"0::/\n": "", // not in a group of its own
		"12:cpu,cpuacct:/user.slice\n1:name=systemd:/a\n": "",
	} {
		if top, err := topGroup(text); top != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, top, err)
		}
	}
}
