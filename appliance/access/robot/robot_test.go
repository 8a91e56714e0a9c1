package robot

import (
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
)

// The form is that of GitHub's tokens, which scanners for secrets know how to check: the
// CRC-32 of the random part, to the base of 62.
func TestText(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		text := NewText()
		if !IsText(text) || len(text) != 40 || !strings.HasPrefix(text, "rdt_") || seen[text] {
			t.Fatalf("made %s", text)
		}
		seen[text] = true
	}
	// zlib.crc32 of Python, by hand to the base of 62.
	known := "rdt_0123456789ABCDEFGHIJabcdefghij" + "4Us3aw"
	if sum := checksum(known[4:34]); sum != known[34:] {
		t.Errorf("the checksum is %s", sum)
	}
	for _, text := range []string{
		"", "rdt_", "RDT_" + known[4:], known[:39], known + "0", known[:39] + "U", known[:20] + "ä" + known[22:],
		known + "\n", "rdt_" + strings.Repeat("0", 36), known[:10] + string(known[10]+1) + known[11:],
	} {
		if IsText(text) {
			t.Errorf("%q is taken for a token", text)
		}
	}
}

// Every change of one character shows in the checksum.
func TestMistypedToken(t *testing.T) {
	t.Parallel()
	text := NewText()
	for i := len(Prefix); i < len(text); i++ {
		for _, c := range "09AZaz" {
			if wrong := text[:i] + string(c) + text[i+1:]; wrong != text && IsText(wrong) {
				t.Errorf("%s is taken for %s", wrong, text)
			}
		}
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	// printf %s abc | sha256sum
	if h := Hash("abc"); h != "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" || HashProblem(h) != "" {
		t.Error(h)
	}
	text := NewText()
	for _, wrong := range []string{"", text, text[:20], strings.ToUpper(Hash(text)), Hash(text)[7:], Hash(text) + " "} {
		if problem := HashProblem(wrong); problem == "" || wrong != "" && strings.Contains(problem, wrong) {
			t.Errorf("%q: %s", wrong, problem)
		}
	}
}

func TestExpires(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2027-01-01":                "2027-01-01T00:00:00Z",
		"2027-01-01T08:00:00+02:00": "2027-01-01T06:00:00Z",
		"2027-02-30":                "", "90d": "", "": "", "2027-01-01 08:00": "",
	} {
		at, err := ParseExpires(text)
		if want == "" && err == nil || want != "" && at.Format(time.RFC3339) != want {
			t.Errorf("%q: %v %v", text, at, err)
		}
	}
	end := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	r := Robot{Expires: end}
	if r.Ended(end.Add(-time.Second)) || !r.Ended(end) || (Robot{}).Ended(end) {
		t.Error("it ends at another time")
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	who := acl.Who{User: "robot:ci"}
	for _, c := range []struct {
		Robot
		action     acl.Action
		repository string
		want       bool
	}{
		{Robot{Repositories: []string{"team/**"}, Actions: []acl.Action{acl.Pull}}, acl.Pull, "team/app", true},
		{Robot{Repositories: []string{"team/**"}, Actions: []acl.Action{acl.Pull}}, acl.Push, "team/app", false},
		{Robot{Repositories: []string{"team/**"}, Actions: []acl.Action{acl.Pull}}, acl.Pull, "other", false},
		{Robot{Repositories: []string{"team/**"}}, acl.Admin, "team/app", true},
		{Robot{Repositories: []string{"team/**"}}, acl.Pull, "other", false},
		{Robot{Actions: []acl.Action{acl.Push}}, acl.Pull, "a/b", true},
		{Robot{Actions: []acl.Action{acl.Push}}, acl.Delete, "a/b", false},
	} {
		policy, err := c.Within()
		if err != nil {
			t.Fatal(err)
		}
		if got := policy.Decide(who, c.action, c.repository).Allowed; got != c.want {
			t.Errorf("%v %v: %s %s: %v", c.Repositories, c.Actions, c.action, c.repository, got)
		}
	}
	if policy, err := (Robot{}).Within(); policy != nil || err != nil {
		t.Error("what has no limit has one")
	}
	if _, err := (Robot{Actions: []acl.Action{"write"}}).Within(); err == nil {
		t.Error("an action that is none counts")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{"ci": true, "Build-1.2_x": true, "": false, "robot:ci": false, "a b": false, "*": false, ".a": false, "a/b": false, "a\n": false, NewText(): false, strings.Repeat("a", 101): false} {
		if (NameProblem(name) == "") != ok {
			t.Errorf("%q: %s", name, NameProblem(name))
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	list := []Robot{{Name: "ci", Hash: Hash("a"), Actions: []acl.Action{acl.Pull}, Repositories: []string{"team/**"}, Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}, {Name: "cd", Hash: Hash("b")}}
	data, err := EncodeList(list)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseList(data); err != nil || len(got) != 2 || got[0].Stamp() != list[0].Stamp() || !got[0].Expires.Equal(list[0].Expires) || Named(got, "cd") != 1 || Named(got, "x") != -1 {
		t.Errorf("%v %v", got, err)
	}
	if got, err := ParseList(nil); got != nil || err != nil {
		t.Errorf("%v %v", got, err)
	}
	for _, wrong := range []string{
		"damaged", "{}", `{"format":2,"robots":[]}`, `{"format":1,"robots":[{"name":"ci","hash":"x"}]}`,
		strings.Replace(string(data), "pull", "write", 1), strings.Replace(string(data), "team", "TEAM", 1), strings.Replace(string(data), `"ci"`, `"c:i"`, 1),
	} {
		if _, err := ParseList([]byte(wrong)); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
	if _, err := EncodeList(make([]Robot, MaxListed+1)); err == nil {
		t.Error("there is no bound")
	}
}
