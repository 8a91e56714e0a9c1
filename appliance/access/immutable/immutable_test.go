package immutable

import "testing"

func TestHolds(t *testing.T) {
	r, err := New([]Rule{
		{Repositories: []string{"release/**"}, Tags: []string{"v*", "stable"}, Except: []string{"*-rc*", "v0.*"}},
		{Repositories: []string{"*"}, Tags: []string{"*"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		repository, tag string
		want            bool
	}{
		{"release/app", "v1", true}, {"release/a/b", "v1.2.3", true}, {"release/app", "stable", true},
		{"release/app", "stable2", false}, {"release/app", "v1-rc1", false}, {"release/app", "v0.1", false},
		{"release/app", "latest", false}, {"release/app", "V1", false}, {"release", "anything", true},
		{"team/app", "v1", false}, {"top", "v0.1-rc", true},
	} {
		if got := r.Holds(c.repository, c.tag); got != c.want {
			t.Errorf("%s:%s: %v", c.repository, c.tag, got)
		}
	}
	if !r.In("release/app") || r.In("team/app") || (Rules{}).In("a") || (Rules{}).Holds("a", "b") {
		t.Error("In is wrong")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, rule := range []Rule{
		{Repositories: []string{"A"}, Tags: []string{"*"}},
		{Repositories: []string{"a"}, Tags: []string{"-x"}},
		{Repositories: []string{"a"}, Tags: []string{"*"}, Except: []string{"a b"}},
		{Repositories: []string{"a"}, Tags: []string{""}},
	} {
		if _, err := New([]Rule{rule}); err == nil {
			t.Errorf("%v is taken", rule)
		}
	}
}
