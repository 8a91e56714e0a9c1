package progress

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Size is a number of bytes as a person reads it, in binary units as every size that
// Redoubt prints: "48.1 GiB", "64 MiB".
func Size(n int64) string {
	value, unit := float64(n), 0
	for value >= 1023.95 && unit < 5 { // which would be rounded to 1024.0
		value /= 1024
		unit++
	}
	text := strings.TrimSuffix(strconv.FormatFloat(value, 'f', 1, 64), ".0")
	return text + " " + []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
}

var rateForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([kKMGT]i?)?B(?:/s)?$`)

// ParseRate reads a rate such as 20MiB/s, 500KiB/s or 64MB/s, in bytes a second.
// 0 is no bound.
func ParseRate(text string) (int64, error) {
	if text == "0" {
		return 0, nil
	}
	m := rateForm.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is no rate: write one such as 20MiB/s, or 0 for no bound", text)
	}
	value, err := strconv.ParseFloat(m[1], 64)
	base, power := 1000.0, 0
	if len(m[2]) > 0 {
		power = map[byte]int{'k': 1, 'K': 1, 'M': 2, 'G': 3, 'T': 4}[m[2][0]]
		if len(m[2]) == 2 {
			base = 1024
		}
	}
	value *= math.Pow(base, float64(power))
	if err != nil || value < 1024 || value > 1e15 {
		return 0, fmt.Errorf("cannot use a rate of %s: it must be at least 1KiB/s, or 0 for no bound", text)
	}
	return int64(value), nil
}
