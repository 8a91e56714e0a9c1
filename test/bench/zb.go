package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// zbTests are those of zot's benchmark program that are run, and how often.
var zbTests = []struct {
	name                  string
	requests, concurrency int
}{
	{"Push Monolith 1MB", 100, 4},
	{"Push Chunk Streamed 10MB", 20, 4},
	{"Pull 10MB", 40, 4},
	{"Pull 100MB", 8, 2},
}

// zotsOwn: zot's benchmark program, where it could be built.
func zotsOwn(ctx context.Context, l *lab, t *table) error {
	if l.zb == "" {
		return nil
	}
	t.section("zb, zot's own benchmark, http, this disk: requests/s by its own count")
	for _, test := range zbTests {
		got, err := all(ctx, l, rounds, setup{}, func(ctx context.Context, v *server, _ *client) ([]float64, error) {
			before, err := v.cpu()
			if err != nil {
				return nil, err
			}
			rate, err := l.zbRate(ctx, v, test.name, test.requests, test.concurrency)
			if err != nil {
				return nil, err
			}
			after, err := v.cpu()
			return []float64{rate, (after - before).Seconds()}, err
		})
		if err != nil {
			return fmt.Errorf("zb: %s: %w", test.name, err)
		}
		t.row(test.name+", requests/s", got, 0, "%.1f")
		t.row(test.name+", processor s of the whole test", got, 1, "%.2f")
	}
	return nil
}

// zbRate runs one test and reads its rate.
func (l *lab) zbRate(ctx context.Context, v *server, name string, requests, concurrency int) (float64, error) {
	args := []string{"-t", "^" + name + "$", "-n", strconv.Itoa(requests), "-c", strconv.Itoa(concurrency), "-d", l.dir, "-r", "zb", "--skip-cleanup"}
	if v.kind == redoubt {
		args = append(args, "-A", user+":"+password)
	}
	out, err := exec.CommandContext(ctx, l.zb, append(args, v.url)...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	rate, failed := field(string(out), "Requests per second:"), field(string(out), "Failed requests:")
	if rate == "" || failed != "0" {
		return 0, errors.New(strings.TrimSpace(string(out)))
	}
	return strconv.ParseFloat(rate, 64)
}

// field is what stands behind a name in a line.
func field(text, name string) string {
	_, after, _ := strings.Cut(text, name)
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}
