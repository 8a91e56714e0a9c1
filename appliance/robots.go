package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
	"github.com/redoubt-registry/redoubt/appliance/storage/pulls"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

const (
	robotTime = 30 * time.Second // for a change of the list, or a look at it
	robotSwap = 10               // times that others may be quicker
)

// CreateToken makes the token of a robot and keeps its hash; it returns the token, which
// nothing can show again. The robot has no hash and no time of its making yet.
func (m *Machine) CreateToken(ctx context.Context, r robot.Robot) (string, error) {
	now, err := m.withRobots()
	if err != nil {
		return "", fmt.Errorf("cannot make the token: %w", err)
	}
	text := robot.NewText()
	r.Hash, r.Created, r.By = robot.Hash(text), m.Now().UTC().Truncate(time.Second), Person()
	err = m.changeRobots(ctx, now, func(list []robot.Robot) ([]robot.Robot, error) {
		if robot.Named(list, r.Name) >= 0 {
			return nil, fmt.Errorf("there is a robot %s: take another name, or redoubt token revoke %s first", r.Name, r.Name)
		}
		if robot.Named(configured(now), r.Name) >= 0 {
			return nil, fmt.Errorf("auth.robots has a robot %s: take another name", r.Name)
		}
		return append(list, r), nil
	})
	m.noteRobot(audit.TokenCreate, r.Name+": "+r.Terms(), err)
	if err != nil {
		return "", fmt.Errorf("cannot make the token: %w", err)
	}
	for _, lack := range lacks(now.cfg.Auth.Rules(), r) {
		m.warn("no rule of auth.acl lets %s %s: its token does not allow that by itself", r.User(), lack)
	}
	return text, nil
}

// RevokeToken takes a robot's token away, and returns what the robot was.
func (m *Machine) RevokeToken(ctx context.Context, name string) error {
	now, err := m.withRobots()
	if err != nil {
		return fmt.Errorf("cannot revoke the token: %w", err)
	}
	err = m.changeRobots(ctx, now, func(list []robot.Robot) ([]robot.Robot, error) {
		at := robot.Named(list, name)
		switch {
		case at >= 0:
			return slices.Delete(slices.Clone(list), at, at+1), nil
		case robot.Named(configured(now), name) >= 0:
			return nil, fmt.Errorf("the configuration has the robot %s: remove it from auth.robots, and redoubt apply", name)
		}
		return nil, fmt.Errorf("there is no robot of that name: redoubt token list names them all")
	})
	if robot.NameProblem(name) != "" {
		name = "" // the token itself, perhaps
	}
	m.noteRobot(audit.TokenRevoke, name, err)
	if err != nil {
		return fmt.Errorf("cannot revoke the token: %w", err)
	}
	return nil
}

// noteRobot writes down what became of a token.
func (m *Machine) noteRobot(action audit.Action, what string, failed error) {
	e := audit.Event{Action: action, Result: audit.OK, Proof: audit.Local, Detail: what}
	if failed != nil {
		e.Result = audit.Failed
	}
	m.note(e)
}

// withRobots is what is in force, where that has robots at all.
func (m *Machine) withRobots() (target, error) {
	now := m.present()
	if now.maintenance || now.names() == nil {
		return target{}, errors.New("no configuration is in force: redoubt status says why")
	}
	return now.target, nil
}

// configured are the robots of the configuration.
func configured(now target) []robot.Robot {
	var list []robot.Robot
	for _, r := range now.cfg.Auth.Robots {
		list = append(list, r.Robot())
	}
	return list
}

// changeRobots replaces the list of robots. change is called again where another machine was
// quicker.
func (m *Machine) changeRobots(ctx context.Context, now target, change func([]robot.Robot) ([]robot.Robot, error)) error {
	ctx, cancel := context.WithTimeout(ctx, robotTime)
	defer cancel()
	store, err := m.tokenState(now)
	if err != nil {
		return err
	}
	for range robotSwap {
		list, version, err := readRobots(ctx, store)
		if err != nil {
			return err
		}
		if list, err = change(list); err != nil {
			return err
		}
		data, err := robot.EncodeList(list)
		if err != nil {
			return err
		}
		if _, err = store.Put(ctx, robot.Object, data, version); !errors.Is(err, sharedstate.ErrConflict) {
			return err
		}
	}
	return errors.New("other machines change the robots all the time: try again")
}

func readRobots(ctx context.Context, store sharedstate.Store) ([]robot.Robot, string, error) {
	data, version, err := store.Get(ctx, robot.Object)
	if errors.Is(err, sharedstate.ErrNotFound) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("the list of robots: %w", err)
	}
	list, err := robot.ParseList(data)
	return list, version, err
}

// lacks is what a robot's token is for and no rule allows, in words.
func lacks(rules []acl.Rule, r robot.Robot) []string {
	if len(rules) == 0 {
		return nil
	}
	who := []acl.Rule{{Users: []string{r.User()}}}
	for _, g := range r.Groups {
		who = append(who, acl.Rule{Groups: []string{g}})
	}
	var missing []string
	for _, action := range r.Actions {
		for _, pattern := range r.Repositories {
			if !slices.ContainsFunc(who, func(asked acl.Rule) bool {
				asked.Actions, asked.Repositories = []acl.Action{action}, []string{pattern}
				return slices.ContainsFunc(rules, func(rule acl.Rule) bool { return rule.Covers(asked) })
			}) {
				missing = append(missing, string(action)+" all of "+pattern)
			}
		}
	}
	return missing
}

// Token is a robot with what is known of its token.
type Token struct {
	robot.Robot
	Configured bool      `json:"configured"` // in auth.robots
	Expired    bool      `json:"expired"`
	Used       time.Time `json:"lastUsed,omitzero"` // to a minute; zero: it is not known
}

// Tokens are all robots: those of the configuration, and those whose tokens were made on a
// machine.
func (m *Machine) Tokens(ctx context.Context, finder imagestore.Finder) ([]Token, error) {
	ctx, cancel := context.WithTimeout(ctx, robotTime)
	defer cancel()
	now, err := m.withRobots()
	if err != nil {
		return nil, fmt.Errorf("cannot list the tokens: %w", err)
	}
	store, err := m.tokenState(now)
	if err != nil {
		return nil, fmt.Errorf("cannot list the tokens: %w", err)
	}
	made, _, err := readRobots(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("cannot list the tokens: %w", err)
	}
	used := m.lastUses(ctx, finder)
	var all []Token
	for i, r := range slices.Concat(configured(now), made) {
		t := Token{Robot: r, Configured: i < len(now.cfg.Auth.Robots), Expired: r.Ended(m.Now())}
		if at := used.Last(pulls.Robot(r.Name)); !at.Before(r.Created) { // else another one of the name
			t.Used = at
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// lastUses is when robots logged in last, as far as the storage says.
func (m *Machine) lastUses(ctx context.Context, finder imagestore.Finder) pulls.Known {
	place, err := finder.Open(ctx, imagestore.Configured)
	var known pulls.Known
	if err == nil {
		known, err = pulls.Read(ctx, place.Driver, m.Now())
	}
	if err != nil {
		m.warn("when tokens were used last is not known: %v", err)
	}
	return known
}
