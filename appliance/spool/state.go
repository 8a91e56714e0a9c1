package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// again is how often a problem that stays is told.
const again = 24 * time.Hour

// WriteState keeps in path what is wrong with deliveries, one sentence each without numbers
// that change; none if all is well.
func WriteState(path string, problems []string) error {
	data, err := json.Marshal(problems)
	if err == nil {
		err = files.Write(path, append(data, '\n'), 0o644, -1)
	}
	if err != nil {
		return fmt.Errorf("cannot keep what is wrong with deliveries: %w", err)
	}
	return nil
}

// Problem is what the state in path says is wrong; empty if nothing. The registry's user
// writes it, and root prints it.
func Problem(path string) string {
	var problems []string
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &problems) != nil {
		return ""
	}
	return printable.Line(strings.Join(problems, "; "))
}

// Worse returns what the state in path says is wrong as an error, if it is another problem
// than the last one that was returned, or a day has gone by. told remembers that.
func Worse(path, told string, now time.Time) error {
	var last struct {
		Problem string
		At      time.Time
	}
	if data, err := os.ReadFile(told); err == nil {
		_ = json.Unmarshal(data, &last) // one alert too many does no harm
	}
	problem := Problem(path)
	if problem == last.Problem && (problem == "" || now.Sub(last.At) < again) {
		return nil
	}
	last.Problem, last.At = problem, now
	data, err := json.Marshal(last)
	if err == nil {
		err = files.Write(told, data, 0o644, -1)
	}
	if problem != "" {
		err = errors.Join(errors.New(problem), err)
	}
	return err
}
