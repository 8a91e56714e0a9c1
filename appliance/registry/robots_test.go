package registry

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/storage/pulls"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// robotState is where machines of a test have their robots, with keys of tokens.
func robotState(t *testing.T) sharedstate.Dir {
	t.Helper()
	state := sharedstate.Dir{Path: t.TempDir(), Mode: 0o600, GID: -1, Now: time.Now}
	keys, _, err := token.Keys{}.Rotate(time.Now())
	check(t, err)
	data, err := keys.Encode()
	check(t, err)
	_, err = state.Put(t.Context(), token.KeysObject, data, "")
	check(t, err)
	return state
}

// putRobots writes the list of robots.
func putRobots(t *testing.T, state sharedstate.Dir, list ...robot.Robot) {
	t.Helper()
	data, err := robot.EncodeList(list)
	check(t, err)
	_, version, err := state.Get(t.Context(), robot.Object)
	if err != nil {
		version = ""
	}
	_, err = state.Put(t.Context(), robot.Object, data, version)
	check(t, err)
}

func (m *machine) asRobot(t *testing.T, name, password, method, path string) answer {
	t.Helper()
	a, err := m.do(method, "https://"+m.host()+path, nil, "Authorization", "Basic "+basic(name, password))
	check(t, err)
	return a
}

// robotRules let alice do all, robots of a group push below ci/, and every login pull.
const robotRules = `, anonymous: %s, state: %s, acl: [{users: [alice], repositories: ["**"], actions: [admin]}, {groups: [builders], repositories: ["ci/**"], actions: [push]}, {users: ["robot:reader", alice], repositories: ["**"], actions: [pull]}]`

// A robot does what the rules and its token allow, both of them, by its password and by
// the tokens that it gets for that; every other login with such a token is refused.
func TestRobots(t *testing.T) {
	t.Parallel()
	for _, anonymous := range []string{"none", "pull"} {
		t.Run("anonymous "+anonymous, func(t *testing.T) {
			t.Parallel()
			state := robotState(t)
			made, fixed, reader, ended, gone := robot.NewText(), robot.NewText(), robot.NewText(), robot.NewText(), robot.NewText()
			putRobots(t, state,
				robot.Robot{Name: "made", Hash: robot.Hash(made), Groups: []string{"builders"}},
				robot.Robot{Name: "reader", Hash: robot.Hash(reader), Repositories: []string{"ci/*"}, Actions: []acl.Action{acl.Admin}},
				robot.Robot{Name: "alice", Hash: robot.Hash(gone), Groups: []string{"builders"}},
				robot.Robot{Name: "ended", Hash: robot.Hash(ended), Groups: []string{"builders"}, Expires: time.Now().Add(-time.Second)})
			m, _ := house(t, fmt.Sprintf(robotRules, anonymous, state.Path)+fmt.Sprintf(`, robots: [{name: fixed, hash: %q, groups: [builders], repositories: [ci/app], actions: [push], expires: "2999-01-01T00:00:00Z"}]`, robot.Hash(fixed)), "ci/app", "ci/other", "team/app")
			check(t, m.pushAs(t, "made", made, "ci/app"))
			check(t, m.pushAs(t, "made", made, "ci/other"))
			check(t, m.pushAs(t, "fixed", fixed, "ci/app"))
			check(t, m.pushAs(t, "alice", password, "team/app"))
			check(t, m.pushAs(t, "alice", gone, "ci/app")) // the robot of this name, not the user
			for what, err := range map[string]error{
				"no rule is for it":                  m.pushAs(t, "made", made, "team/app"),
				"the token is for another one":       m.pushAs(t, "fixed", fixed, "ci/other"),
				"a token does not raise what is":     m.pushAs(t, "reader", reader, "ci/app"),
				"an expired one":                     m.pushAs(t, "ended", ended, "ci/app"),
				"one of another robot":               m.pushAs(t, "made", fixed, "ci/app"),
				"one of another machine":             m.pushAs(t, "made", robot.NewText(), "ci/app"),
				"a robot's for a user":               m.pushAs(t, "bob", made, "ci/app"),
				"a user's password for a robot":      m.pushAs(t, "made", password, "ci/app"),
				"the user of a robot's name":         m.pushAs(t, "robot:made", made, "ci/app"),
				"a robot has not the user's rights":  m.pushAs(t, "alice", gone, "team/app"),
				"the hash in the place of the token": m.pushAs(t, "made", robot.Hash(made), "ci/app"),
			} {
				if err == nil {
					t.Errorf("%s: it was pushed", what)
				}
			}
			for _, c := range []struct {
				name, token, path string
				status            int
				text              string
			}{
				{"reader", reader, "/v2/ci/app/tags/list", 200, ""},
				{"reader", reader, "/v2/team/app/tags/list", 403, "its token is for other repositories or actions"},
				{"reader", reader, "/v2/_catalog", 200, `["ci/app","ci/other"]`},
				{"made", made, "/v2/team/app/tags/list", 403, "no rule of the registry allows it"},
				{"ended", ended, "/v2/ci/app/tags/list", 401, "the robot's token has expired"},
				{"made", robot.NewText(), "/v2/ci/app/tags/list", 401, "wrong user or password"},
			} {
				if a := m.asRobot(t, c.name, c.token, http.MethodGet, c.path); a.StatusCode != c.status || !strings.Contains(a.body, c.text) {
					t.Errorf("%s at %s: %s %s", c.name, c.path, a.Status, a.body)
				}
			}
		})
	}
}

// A robot cannot get more by asking for more, and what it gets is for what its token is.
func TestRobotScope(t *testing.T) {
	t.Parallel()
	state, text := robotState(t), robot.NewText()
	putRobots(t, state, robot.Robot{Name: "ci", Hash: robot.Hash(text), Groups: []string{"builders"}, Repositories: []string{"ci/app"}, Expires: time.Now().Add(10 * time.Minute)})
	home, _ := house(t, fmt.Sprintf(robotRules, "none", state.Path), "ci/app", "ci/other")
	m := tokensOf(t, home)
	for asked, given := range map[string]string{
		"repository:ci/app:*":           "repository:ci/app:pull,push",
		"repository:ci/app:pull,delete": "repository:ci/app:pull",
		"repository:ci/other:pull,push": "",
	} {
		a := m.asRobot(t, "ci", text, http.MethodGet, "/v2/_token?scope="+asked)
		if body := m.read(t, a); body.Scope != given || body.Expires > 600 {
			t.Errorf("%s gives %+v", asked, body)
		}
	}
	a := m.post(t, "grant_type", "password", "username", "ci", "password", text, "access_type", "offline", "scope", "repository:ci/app:pull", "service", "x", "client_id", "x")
	refresh := m.read(t, a).Refresh
	given := m.read(t, m.post(t, "grant_type", "refresh_token", "refresh_token", refresh, "scope", "repository:ci/app:push,delete", "service", "x", "client_id", "x"))
	if given.Scope != "repository:ci/app:push" {
		t.Errorf("by a refresh token: %+v", given)
	}
	for path, status := range map[string]int{"/v2/ci/app/tags/list": 200, "/v2/ci/other/tags/list": 403} {
		if a := m.show(t, given.Token, http.MethodGet, path); a.StatusCode != status {
			t.Errorf("%s: %s %s", path, a.Status, a.body)
		}
	}
}

// A token counts soon after it was made and ends soon after it was revoked, with all that
// it was shown for, on every machine.
func TestRobotRevoked(t *testing.T) {
	t.Parallel()
	state, text := robotState(t), robot.NewText()
	ci := robot.Robot{Name: "ci", Hash: robot.Hash(text)}
	var machines []tokens
	for range 2 {
		m := newMachine(t)
		m.authMore = ", anonymous: pull, acl: [{users: [\"*\"], repositories: [\"**\"], actions: [push]}], state: " + state.Path
		m.config(t, "info")
		m.start(t)
		machines = append(machines, tokensOf(t, m))
	}
	for _, m := range machines {
		if a := m.asRobot(t, "ci", text, http.MethodGet, "/v2/_token"); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("before it was made: %s", a.Status)
		}
	}
	putRobots(t, state, ci)
	var given, refresh []string
	for _, m := range machines {
		a := m.asRobot(t, "ci", text, http.MethodGet, "/v2/_token?scope=repository:a:push")
		given = append(given, m.read(t, a).Token) // at once
		a = m.post(t, "grant_type", "password", "username", "ci", "password", text, "access_type", "offline", "service", "x", "client_id", "x")
		refresh = append(refresh, m.read(t, a).Refresh)
	}
	show := func(i int) []int {
		m := machines[i]
		return []int{m.show(t, given[i], http.MethodPost, "/v2/a/blobs/uploads/").StatusCode,
			m.asRobot(t, "ci", text, http.MethodPost, "/v2/a/blobs/uploads/").StatusCode,
			m.asRobot(t, "ci", refresh[i], http.MethodPost, "/v2/a/blobs/uploads/").StatusCode,
			m.post(t, "grant_type", "refresh_token", "refresh_token", refresh[i], "service", "x", "client_id", "x").StatusCode}
	}
	for i := range machines {
		if got := fmt.Sprint(show(i)); got != "[202 202 202 200]" {
			t.Errorf("it counts on machine %d: %s", i, got)
		}
	}
	putRobots(t, state)
	for i := range machines {
		until(t, "the token to end", func() bool { return fmt.Sprint(show(i)) == "[401 401 401 400]" })
	}
	putRobots(t, state, robot.Robot{Name: "ci", Hash: robot.Hash(robot.NewText())})
	until(t, "another token of the name to be known", func() bool {
		return machines[0].show(t, given[0], http.MethodGet, "/v2/").StatusCode == http.StatusUnauthorized
	})
}

// A list that cannot be read changes nothing for a while, and nobody is told that a
// password is wrong which could not be checked.
func TestRobotsUnread(t *testing.T) {
	t.Parallel()
	state, text, fixed := robotState(t), robot.NewText(), robot.NewText()
	check(t, os.WriteFile(state.Where(robot.Object), []byte("damaged"), 0o600))
	m, _ := house(t, fmt.Sprintf(`, state: %s, robots: [{name: fixed, hash: %q}]`, state.Path, robot.Hash(fixed)))
	a := m.asRobot(t, "ci", text, http.MethodGet, "/v2/")
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || !strings.Contains(a.body, "the list of robots cannot be read") {
		t.Errorf("%s %s", a.Status, a.body)
	}
	if a := m.asRobot(t, "fixed", fixed, http.MethodGet, "/v2/"); a.StatusCode != http.StatusOK {
		t.Errorf("a robot of the configuration: %s", a.Status)
	}
	if a := m.asRobot(t, "ci", text[:39]+"_", http.MethodGet, "/v2/"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token that is none: %s", a.Status)
	}
	check(t, os.Remove(state.Where(robot.Object)))
	putRobots(t, state, robot.Robot{Name: "ci", Hash: robot.Hash(text)})
	until(t, "the list to be read", func() bool { return m.asRobot(t, "ci", text, http.MethodGet, "/v2/").StatusCode == http.StatusOK })
	check(t, os.WriteFile(state.Where(robot.Object), []byte("damaged"), 0o600))
	until(t, "the damage to be seen", func() bool {
		if a := m.asRobot(t, "ci", text, http.MethodGet, "/v2/"); a.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", a.Status, a.body)
		}
		return strings.Count(m.log.String(), "it is damaged") > 2
	})
}

// When a robot was used last is kept when the registry ends.
func TestRobotsLastUse(t *testing.T) {
	t.Parallel()
	used, idle := robot.NewText(), robot.NewText()
	m, _ := house(t, fmt.Sprintf(`, robots: [{name: used, hash: %q}, {name: idle, hash: %q}]`, robot.Hash(used), robot.Hash(idle)))
	before := time.Now().Add(-time.Second)
	m.asRobot(t, "used", used, http.MethodGet, "/v2/")
	m.asRobot(t, "idle", used, http.MethodGet, "/v2/")
	m.signal(t, syscall.SIGTERM)
	<-m.exited
	known, err := pulls.Read(t.Context(), filesystem.New(filesystem.DriverParameters{RootDirectory: m.path("store"), MaxThreads: 100}), time.Now())
	check(t, err)
	if !known.Last(pulls.Robot("used")).After(before) || !known.Last(pulls.Robot("idle")).IsZero() {
		t.Errorf("%v %v", known.Last(pulls.Robot("used")), known.Last(pulls.Robot("idle")))
	}
	log := m.log.String()
	for _, want := range []string{`"user":"robot:used","proof":"robot"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the audit log has no %s", want)
		}
	}
	if strings.Contains(log, used) {
		t.Error("the token is in the log")
	}
}
