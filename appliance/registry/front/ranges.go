package front

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxRanges is the most ranges of one request. More are answered with the whole, as
// RFC 9110, 14.2, allows: each one costs a part of its own, of a bucket a request.
const maxRanges = 16

// span is the bytes from first to last; last is MaxInt64 where it is open.
type span struct{ first, last int64 }

// limitRanges joins the ranges that lap over each other, and takes the header away
// where there are still too many, or where they are not of bytes: another unit must be
// ignored (RFC 9110, 14.2). What it cannot read it leaves.
func limitRanges(h http.Header) {
	values := h.Values("Range")
	unit, set, ok := strings.Cut(strings.Join(values, ","), "=")
	if ok && !strings.EqualFold(unit, "bytes") {
		h.Del("Range")
		return
	}
	if !ok || len(values) == 1 && !strings.Contains(set, ",") {
		return
	}
	spans, suffix, ok := parseRanges(set)
	switch spans = join(spans); {
	case !ok:
		if strings.Count(set, ",") >= maxRanges {
			h.Del("Range")
		}
	case len(spans) > maxRanges, len(spans) == maxRanges && suffix > 0:
		h.Del("Range")
	default:
		h.Set("Range", "bytes="+format(spans, suffix))
	}
}

// parseRanges reads a byte-ranges-specifier (RFC 9110, 14.1.2). Of several suffixes
// the longest has the others in it.
func parseRanges(set string) (spans []span, suffix int64, ok bool) {
	for text := range strings.SplitSeq(set, ",") {
		from, to, ok := strings.Cut(strings.Trim(text, " \t"), "-")
		first, errFirst := number(from)
		last, errLast := number(to)
		switch {
		case !ok || from == "" && to == "":
			return nil, 0, false
		case from == "" && errLast == nil:
			suffix = max(suffix, last)
		case to == "" && errFirst == nil:
			spans = append(spans, span{first, math.MaxInt64})
		case errFirst == nil && errLast == nil && first <= last:
			spans = append(spans, span{first, last})
		default:
			return nil, 0, false
		}
	}
	return spans, suffix, true
}

// number reads digits alone.
func number(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// join joins the spans that have bytes in common, and leaves their order if none
// have. Spans that only touch stay apart: a client may count its parts.
func join(spans []span) []span {
	sorted := slices.SortedFunc(slices.Values(spans), func(a, b span) int { return cmp.Compare(a.first, b.first) })
	var out []span
	for _, s := range sorted {
		if n := len(out); n > 0 && s.first <= out[n-1].last {
			out[n-1].last = max(out[n-1].last, s.last)
			continue
		}
		out = append(out, s)
	}
	if len(out) == len(spans) {
		return spans
	}
	return out
}

func format(spans []span, suffix int64) string {
	var all []string
	for _, s := range spans {
		if s.last == math.MaxInt64 {
			all = append(all, fmt.Sprintf("%d-", s.first))
			continue
		}
		all = append(all, fmt.Sprintf("%d-%d", s.first, s.last))
	}
	if suffix > 0 {
		all = append(all, fmt.Sprintf("-%d", suffix))
	}
	return strings.Join(all, ",")
}
