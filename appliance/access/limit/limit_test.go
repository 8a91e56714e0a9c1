package limit

import (
	"fmt"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// small are limits that a test can count.
var small = Limits{
	Address: Bucket{6, 5 * time.Second},
	User:    Bucket{3, 10 * time.Second},
	Spare:   Bucket{2, time.Second},
	Known:   8, Waiting: 8, Working: 1, MaxWait: time.Minute,
}

func TestClientOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1234":               "192.0.2.7/32",
		"[::ffff:192.0.2.7]:1234":      "192.0.2.7/32",
		"[2001:db8:1:2:3:4:5:6]:1234":  "2001:db8:1:2::/64",
		"[2001:db8:1:2::ff]:1234":      "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1234":          "fe80::/64",
		"@":                            "invalid Prefix",
		"":                             "invalid Prefix",
		"registry.example.com:https":   "invalid Prefix",
		"[2001:db8:1:3:3:4:5:6]:65535": "2001:db8:1:3::/64",
	} {
		if got := ClientOf(remote, "alice").Address.String(); got != want {
			t.Errorf("the address of %q is %s, want %s", remote, got, want)
		}
	}
	if ClientOf("192.0.2.7:1", "a").Connection == ClientOf("192.0.2.7:2", "a").Connection {
		t.Error("two connections are one")
	}
	if ClientOf("192.0.2.7:1", "a").User == ClientOf("192.0.2.7:1", "b").User {
		t.Error("two users are one")
	}
}

// check lets c try a password, while nobody else does.
func check(t *testing.T, q *Queue, c Client, failed bool, now time.Time) *Refused {
	t.Helper()
	if _, _, err := q.Enter(c, now); err != nil {
		return err
	}
	p, err := q.Next(now)
	if p == nil || err != nil || p.Client != c {
		t.Fatalf("Next = %v, %v, want the one who waits", p, err)
	}
	q.Leave(p, failed, now)
	return nil
}

// fail lets c fail n times.
func fail(t *testing.T, q *Queue, n int, now time.Time, client func(i int) Client) {
	t.Helper()
	for i := range n {
		if err := check(t, q, client(i), true, now); err != nil {
			t.Fatalf("failure %d was refused: %v", i, err)
		}
	}
}

// TestLimits holds who is refused after failures, for how long, and who is not.
func TestLimits(t *testing.T) {
	one := func(remote, user string) func(int) Client {
		return func(int) Client { return ClientOf(remote, user) }
	}
	for name, tc := range map[string]struct {
		failures int
		by       func(int) Client
		after    time.Duration
		then     Client
		want     time.Duration // 0: let in
	}{
		"within the limit of a user":   {2, one("192.0.2.1:1", "alice"), 0, ClientOf("192.0.2.1:1", "alice"), 0},
		"past the limit of a user":     {3, one("192.0.2.1:1", "alice"), 0, ClientOf("192.0.2.1:1", "alice"), 10 * time.Second},
		"the user, a while later":      {3, one("192.0.2.1:1", "alice"), 4500 * time.Millisecond, ClientOf("192.0.2.1:1", "alice"), 6 * time.Second},
		"the user, in time":            {3, one("192.0.2.1:1", "alice"), 10 * time.Second, ClientOf("192.0.2.1:1", "alice"), 0},
		"the user elsewhere":           {3, one("192.0.2.1:1", "alice"), 0, ClientOf("192.0.2.2:1", "alice"), 0},
		"another user there":           {3, one("192.0.2.1:1", "alice"), 0, ClientOf("192.0.2.1:1", "bob"), 0},
		"the user, a fresh connection": {3, one("192.0.2.1:1", "alice"), 0, ClientOf("192.0.2.1:2", "alice"), 0},
		"many addresses, one user": {3, func(i int) Client { return ClientOf(fmt.Sprintf("192.0.2.%d:1", i), "alice") }, 0,
			ClientOf("192.0.2.0:1", "alice"), 5 * time.Second},
		"past the limit of an address": {6, func(i int) Client { return ClientOf("192.0.2.1:1", fmt.Sprint(i)) }, 0,
			ClientOf("192.0.2.1:1", "new"), 5 * time.Second},
		"the address, in time": {6, func(i int) Client { return ClientOf("192.0.2.1:1", fmt.Sprint(i)) }, 5 * time.Second,
			ClientOf("192.0.2.1:1", "new"), 0},
		"a good user behind that address": {6, func(i int) Client { return ClientOf("192.0.2.1:1", fmt.Sprint(i)) }, 0,
			ClientOf("192.0.2.1:2", "bob"), 0},
		"one /64": {6, func(i int) Client { return ClientOf(fmt.Sprintf("[2001:db8::%d]:1", i), fmt.Sprint(i)) }, 0,
			ClientOf("[2001:db8::5]:1", "new"), 5 * time.Second},
		"the next /64": {6, func(i int) Client { return ClientOf(fmt.Sprintf("[2001:db8::%d]:1", i), fmt.Sprint(i)) }, 0,
			ClientOf("[2001:db8:0:1::5]:1", "new"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			q := NewQueue(small)
			fail(t, q, tc.failures, start, tc.by)
			now := start.Add(tc.after)
			_, _, err := q.Enter(tc.then, now)
			var got time.Duration
			if err != nil {
				got = err.RetryAfter
			}
			if got != tc.want {
				t.Fatalf("refused for %v, want %v", got, tc.want)
			}
			if err != nil {
				if _, _, err := q.Enter(tc.then, now.Add(got)); err != nil {
					t.Errorf("after Retry-After it is refused once more: %v", err)
				}
			}
		})
	}
}

// TestRightPasswordsCostNothing holds that no number of good logins of an office
// behind one address is bounded.
func TestRightPasswordsCostNothing(t *testing.T) {
	q := NewQueue(small)
	for i := range 100 {
		if err := check(t, q, ClientOf("192.0.2.1:1", fmt.Sprint(i%7)), false, start); err != nil {
			t.Fatalf("good login %d: %v", i, err)
		}
	}
}

// TestSpareIsBounded holds that who takes a new connection for each guess is
// bounded as well, and that those who are right do not use it up.
func TestSpareIsBounded(t *testing.T) {
	q := NewQueue(small)
	fail(t, q, 6, start, func(i int) Client { return ClientOf("192.0.2.1:1", fmt.Sprint(i)) })
	port := 1
	fresh := func(failed bool, now time.Time) *Refused {
		port++
		return check(t, q, ClientOf(fmt.Sprintf("192.0.2.1:%d", port), fmt.Sprint("user", port)), failed, now)
	}
	for range 20 {
		if err := fresh(false, start); err != nil {
			t.Fatalf("a right password on a new connection: %v", err)
		}
	}
	tried := 0
	for fresh(true, start) == nil {
		tried++
	}
	if tried != small.Spare.Burst {
		t.Errorf("%d guesses on new connections, want %d", tried, small.Spare.Burst)
	}
	if err := fresh(false, start.Add(time.Second)); err != nil {
		t.Errorf("a second later: %v", err)
	}
}

// TestOrder holds whose turn is next where many wait.
func TestOrder(t *testing.T) {
	for name, tc := range map[string]struct {
		before, wait []Client
		want         []int // places of wait, in their order
	}{
		"as they came": {nil, []Client{ClientOf("192.0.2.1:1", "a"), ClientOf("192.0.2.2:1", "b"), ClientOf("192.0.2.3:1", "c")}, []int{0, 1, 2}},
		"an address without failures first": {
			[]Client{ClientOf("192.0.2.1:1", "a")},
			[]Client{ClientOf("192.0.2.1:2", "b"), ClientOf("192.0.2.2:1", "c")},
			[]int{1, 0},
		},
		"one connection does not hold up another of its address": {nil,
			[]Client{ClientOf("192.0.2.1:1", "a"), ClientOf("192.0.2.1:1", "b"), ClientOf("192.0.2.1:1", "c"), ClientOf("192.0.2.1:2", "d")},
			[]int{0, 3, 1, 2},
		},
		"one address does not hold up another": {nil,
			[]Client{ClientOf("192.0.2.1:1", "a"), ClientOf("192.0.2.1:2", "a"), ClientOf("192.0.2.1:3", "a"), ClientOf("192.0.2.2:1", "d")},
			[]int{0, 3, 1, 2},
		},
		"a user whom many guess does not hold up another": {nil,
			[]Client{ClientOf("192.0.2.1:1", "a"), ClientOf("192.0.2.2:1", "a"), ClientOf("192.0.2.3:1", "a"), ClientOf("192.0.2.4:1", "d")},
			[]int{0, 3, 1, 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := NewQueue(small)
			for _, c := range tc.before {
				fail(t, q, 1, start, func(int) Client { return c })
			}
			places := map[*Place]int{}
			for i, c := range tc.wait {
				p, out, err := q.Enter(c, start)
				if out != nil || err != nil {
					t.Fatalf("Enter = %v, %v", out, err)
				}
				places[p] = i
			}
			for i, want := range tc.want {
				p, err := q.Next(start)
				if p == nil || err != nil {
					t.Fatalf("Next = %v, %v", p, err)
				}
				if places[p] != want {
					t.Fatalf("turn %d is that of %d, want %d", i, places[p], want)
				}
				if p, _ := q.Next(start); p != nil {
					t.Fatal("more are at work than may be")
				}
				q.Leave(p, true, start)
			}
			if p, err := q.Next(start); p != nil || err != nil || q.Waiting() != 0 {
				t.Errorf("Next of an empty queue = %v, %v", p, err)
			}
		})
	}
}

// TestFullQueue holds that who crowds it makes room for others.
func TestFullQueue(t *testing.T) {
	q := NewQueue(small)
	var last *Place
	for i := range small.Waiting {
		p, out, err := q.Enter(ClientOf(fmt.Sprintf("192.0.2.1:%d", 1+i/4), fmt.Sprint(i)), start)
		if out != nil || err != nil {
			t.Fatalf("place %d: %v, %v", i, out, err)
		}
		last = p
	}
	p, out, err := q.Enter(ClientOf("192.0.2.2:1", "bob"), start)
	if err != nil || out != last || p == out {
		t.Errorf("another address: %v has to go for %v (%v), want the last of who came before", out, p, err)
	}
	p, out, err = q.Enter(ClientOf("192.0.2.1:1", "more"), start)
	if err != nil || out != p {
		t.Errorf("one more of the same: %v has to go for %v (%v), want the new one", out, p, err)
	}
	if q.Waiting() != small.Waiting {
		t.Errorf("%d wait", q.Waiting())
	}
}

// TestQueuedFailuresAreBounded holds that who sends a thousand at once is refused
// when its failures are too many, though all were in the queue before the first.
func TestQueuedFailuresAreBounded(t *testing.T) {
	q := NewQueue(small)
	for i := range small.Waiting {
		if _, _, err := q.Enter(ClientOf("192.0.2.1:1", fmt.Sprint(i)), start); err != nil {
			t.Fatal(err)
		}
	}
	checked, refused := 0, 0
	for p, err := q.Next(start); p != nil; p, err = q.Next(start) {
		if err != nil {
			refused++
			continue
		}
		checked++
		q.Leave(p, true, start)
	}
	if checked != small.Address.Burst || refused != small.Waiting-checked {
		t.Errorf("%d checked, %d refused", checked, refused)
	}
}

// TestMemoryIsBounded holds that ever new names and addresses fill nothing.
func TestMemoryIsBounded(t *testing.T) {
	q := NewQueue(small)
	for i := range 1000 {
		check(t, q, ClientOf(fmt.Sprintf("10.0.%d.%d:%d", i/250, i%250, i), fmt.Sprint(i)), true, start)
	}
	for _, n := range []int{q.addresses.known.Len(), q.users.known.Len(), q.connections.known.Len(), q.spare.known.Len()} {
		if n > small.Known {
			t.Errorf("%d are remembered, more than %d", n, small.Known)
		}
	}
	if len(q.waiting)+len(q.working) != 0 {
		t.Error("places are left")
	}
}
