package appliance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
)

// pending says what the documents ask for that is not in force: an edit that was not
// applied, or one that was refused. Otherwise the next boot would be the first to tell. It
// changes nothing. A notice of what is wrong says it already.
func (m *Machine) pending(ctx context.Context, now target) string {
	quiet := *m
	quiet.Out, quiet.Warnings = io.Discard, io.Discard
	if trial, err := history.LoadTrial(m.Root); err == nil && trial != nil {
		return fmt.Sprintf("generation %d comes back at %s unless redoubt confirm is run before", trial.Back, trial.Until.Format(untilFormat))
	}
	c, err := quiet.choose(ctx, true)
	switch {
	case err == nil && c.hold != nil:
		return fmt.Sprintf("generation %d serves since the rollback of %s, whatever the documents ask for: redoubt apply takes them up",
			c.hold.Generation, c.hold.Since.Format(time.RFC3339))
	case err != nil:
		return err.Error()
	case c.problem != nil && now.maintenance:
		return ""
	case c.problem != nil:
		return c.problem.Error()
	case now.maintenance:
		return "the documents are valid, and not applied: redoubt apply"
	case !c.asked:
		return ""
	case !bytes.Equal(c.document, c.lastGood):
		return "the documents ask for something else than what is in force: redoubt apply --dry-run shows it, redoubt apply does it or says why not"
	}
	change, err := quiet.compare(ctx, c.target)
	if err == nil && len(change.plan.Write)+len(change.plan.Remove) > 0 {
		return "a file that the documents name has changed, and is not in force: redoubt apply"
	}
	return ""
}
