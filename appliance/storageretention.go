package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/inventory"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/pulls"
	"github.com/redoubt-registry/redoubt/appliance/storage/retention"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// parallelReads is how many objects of a storage are read at a time.
const parallelReads = 32

// PlanOptions are what the caller of PlanRetention chooses.
type PlanOptions struct {
	Storage string
	Config  config.Config
	Origins config.Origins
	Gone    bool // only what goes
	JSON    bool
	Result  io.Writer
}

// planned is a tag as the plan tells it.
type planned struct {
	Repository string    `json:"repository"`
	Tag        string    `json:"tag"`
	Digest     string    `json:"digest"`
	Kept       bool      `json:"kept"`
	Rule       string    `json:"rule,omitempty"`
	At         string    `json:"at,omitempty"` // where the rule is
	Why        string    `json:"why"`
	Bytes      int64     `json:"bytes"`
	Pushed     time.Time `json:"pushed"`
	Pulled     time.Time `json:"pulled,omitzero"`
}

// PlanRetention prints what becomes of each tag that rules of retention are for, and by
// which rule. It notes that these rules were looked at; else it changes nothing.
func PlanRetention(ctx context.Context, finder imagestore.Finder, o PlanOptions) error {
	rules := render.Retention(o.Config)
	if len(rules.Rules) == 0 {
		return errors.New("there is nothing to plan: retention.rules of the configuration is empty")
	}
	place, err := finder.Open(ctx, o.Storage)
	if err != nil {
		return err
	}
	plan, err := planFor(ctx, place, rules, time.Now())
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(o.Result)
	gone := 0
	for _, i := range plan.Images {
		if !i.Kept {
			gone++
		} else if o.Gone {
			continue
		}
		p := o.planned(i)
		if o.JSON {
			err = encoder.Encode(p)
		} else {
			_, err = fmt.Fprintln(o.Result, p.line())
		}
		if err != nil {
			return err
		}
	}
	if !o.JSON {
		if _, err := fmt.Fprintf(o.Result, "%d of %d tags go, with %d manifests; this frees %s when the trash is emptied\n",
			gone, len(plan.Images), len(plan.Gone), progress.Size(plan.Bytes)); err != nil {
			return err
		}
	}
	if err := become(place.Root); err != nil {
		return err
	}
	return retention.See(ctx, place.Driver, rules)
}

func (o PlanOptions) planned(i retention.Image) planned {
	p := planned{Repository: i.Repository, Tag: i.Name, Digest: string(i.Digest), Kept: i.Kept, Why: i.Why, Bytes: i.Bytes, Pushed: i.Pushed.UTC(), Pulled: i.Pulled.UTC()}
	if i.Rule >= 0 {
		p.Rule = fmt.Sprintf("retention.rules[%d]", i.Rule)
		p.At = fmt.Sprint(o.Origins.At(p.Rule))
	}
	return p
}

func (p planned) line() string {
	word := "goes"
	if p.Kept {
		word = "stays"
	}
	text := fmt.Sprintf("%-5s %s:%s: %s", word, p.Repository, p.Tag, p.Why)
	if p.Rule != "" {
		text += fmt.Sprintf(" (%s, %s)", p.Rule, p.At)
	}
	if !p.Kept {
		text += ": " + progress.Size(p.Bytes)
	}
	return text
}

// planFor makes the plan of rules for a storage.
func planFor(ctx context.Context, place *imagestore.Place, rules retention.Rules, now time.Time) (*retention.Plan, error) {
	policy, err := retention.New(rules)
	if err != nil {
		return nil, fmt.Errorf("cannot use the rules of retention: %w", err)
	}
	known, err := pulls.Read(ctx, place.Driver, now)
	if err != nil {
		return nil, err
	}
	return policy.Make(ctx, inventory.Reader{Storage: place.Driver, Parallel: parallelReads}, known, now)
}

// readRules reads the rules that are in force; none where the file is not there.
func readRules(path string) (r retention.Rules, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, fmt.Errorf("cannot read the rules of retention: %w", err)
	}
	return r, nil
}

// Retained is what the rules of retention have done in a collection.
type Retained struct {
	Tags  int   `json:"tags"`            // that went, or would
	Bytes int64 `json:"bytes"`           // that nothing else needs
	Waits bool  `json:"waits,omitempty"` // for somebody to look at the plan
}

// retain lets the rules of retention do their part of a collection: it deletes tags, and
// says which manifests nothing holds then.
func (o GCOptions) retain(ctx context.Context, place *imagestore.Place, rules retention.Rules, beat func(context.Context) error) (*Retained, retention.Left, error) {
	var none retention.Left
	if len(rules.Rules) == 0 {
		return nil, none, nil
	}
	now := time.Now()
	plan, err := planFor(ctx, place, rules, now)
	if err != nil {
		return nil, none, err
	}
	done := &Retained{Bytes: plan.Bytes}
	for _, i := range plan.Images {
		if !i.Kept {
			done.Tags++
		}
	}
	seen := rules.Enforce
	if !seen {
		if seen, err = retention.Seen(ctx, place.Driver, rules); err != nil {
			return nil, none, err
		}
	}
	done.Waits = !seen
	if o.DryRun || !seen {
		return done, none, nil
	}
	tags, left, err := plan.Apply(ctx, place.Driver, now, beat)
	done.Tags = tags
	if tags > 0 {
		noteEvent(o.Root, o.Storage, audit.Event{Action: audit.Delete, Kind: "tag", Count: tags, Detail: fmt.Sprintf("by the rules of retention: %d tags", tags)}, err)
	}
	if err == nil {
		err = pulls.Compact(ctx, place.Driver, now)
	}
	return done, left, err
}

// rulesFor are the rules for a collection in the storage that the registry uses.
func (o GCOptions) rulesFor() (retention.Rules, error) {
	if o.Storage != imagestore.Configured {
		return retention.Rules{}, nil
	}
	path := o.Rules
	if path == "" {
		path = paths.Retention
	}
	return readRules(path)
}

func (r *Retained) tell(o GCOptions) (err error) {
	switch {
	case r == nil:
	case r.Waits:
		_, err = fmt.Fprintf(o.Result, "retention: nothing is deleted before somebody has looked at redoubt retention plan, or retention.enforce is true; %d tags (%s) would go\n", r.Tags, progress.Size(r.Bytes))
	case o.DryRun:
		_, err = fmt.Fprintf(o.Result, "retention: %d tags (%s) would go\n", r.Tags, progress.Size(r.Bytes))
	default:
		_, err = fmt.Fprintf(o.Result, "retention: %d tags were deleted (%s)\n", r.Tags, progress.Size(r.Bytes))
	}
	return err
}
