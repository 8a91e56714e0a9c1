package render

import (
	"encoding/json"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// unitSchedule is that of redoubt-gc.timer itself.
const unitSchedule = "03:00"

// Collection is what the configuration says of redoubt gc.
type Collection struct {
	RemoveUntagged bool          `json:"removeUntagged"`
	Grace          time.Duration `json:"grace"` // nanoseconds
	Trash          time.Duration `json:"trash"` // nanoseconds
}

// collection is read by each redoubt gc when it starts.
func collection(cfg config.Config) tree.File {
	data, _ := json.Marshal(Collection{cfg.GC.RemoveUntagged, cfg.GC.Grace, cfg.GC.Trash}) // numbers and a bool never fail
	return private(paths.GC, append(data, '\n'))
}

// scheduleDropIn sets when space is freed where that is not the unit's own time.
func scheduleDropIn(cfg config.Config) string {
	return calendarDropIn(cfg.GC.Schedule, unitSchedule)
}

// calendarDropIn sets a timer's time where that is not the unit's own.
func calendarDropIn(schedule, own string) string {
	if schedule == own {
		return ""
	}
	return "[Timer]\nOnCalendar=\nOnCalendar=" + schedule + "\n"
}
