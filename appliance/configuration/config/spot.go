package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// spot is a place in the configuration while it is validated.
type spot struct {
	path    string
	origins Origins
	wanting map[string]bool
	report  *Report
	// called is what storage.s3 is called in messages about another bucket.
	called string
}

func (s spot) at(key string) spot {
	s.path = join(s.path, key)
	return s
}

func (s spot) item(i int) spot {
	s.path += "[" + strconv.Itoa(i) + "]"
	return s
}

// fail reports a mistake at this spot, unless its value was refused before.
func (s spot) fail(format string, args ...any) { s.add(false, format, args) }

// warn reports what is allowed but better not done.
func (s spot) warn(format string, args ...any) { s.add(true, format, args) }

func (s spot) add(warning bool, format string, args []any) {
	for path := s.path; path != ""; path = parent(path) {
		if s.wanting[path] {
			return
		}
	}
	message := fmt.Sprintf(format, args...)
	if s.called != "" {
		message = strings.ReplaceAll(message, "storage.s3", s.called)
	}
	entry := s.origins.Entry(s.path, message)
	entry.Warning = warning
	*s.report = append(*s.report, entry)
}

// partly says that something at this spot or below it is not known.
func (s spot) partly() bool {
	for path := range s.wanting {
		if strings.HasPrefix(path, s.path) {
			return true
		}
	}
	return false
}

// oneOf reports a word that is not among words.
func (s spot) oneOf(word string, words ...string) {
	for _, w := range words {
		if word == w {
			return
		}
	}
	list := words[0]
	for _, w := range words[1:] {
		list += " | " + w
	}
	s.fail("must be one of %s%s", list, suggest(word, words))
}

func (s spot) between(n, low, high int) {
	if n < low || n > high {
		s.fail("must be from %d to %d", low, high)
	}
}

func (s spot) lasts(d, low, high time.Duration) {
	if d < low || d > high {
		s.fail("must be from %s to %s", short(low), short(high))
	}
}

// short is a duration without its zero units: 1h, not 1h0m0s.
func short(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d >= time.Minute && d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}
