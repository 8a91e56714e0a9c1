package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/distribution/distribution/v3/configuration"
)

// Excerpt is the line that an entry is about, as people may see it: every value,
// comment and unknown key is masked. A value in the place of the mistake is shown
// where it cannot be a secret.
type Excerpt struct {
	Text   string `json:"text"`
	Column int    `json:"column"` // of the mistake in Text, in letters from 1
	Width  int    `json:"width"`  // of the mistake in Text
}

// mask stands for what is not shown, of whatever length.
const mask = "•••"

// Excerpts gives the entries the lines of the layers that they are about. An entry
// without a place in one of them stays as it is.
func (r Report) Excerpts(layers []Layer) Report {
	lines := map[string][]string{}
	for _, l := range layers {
		if l.Key == "" && lines[l.Name] == nil && len(l.Data) <= maxSize {
			lines[l.Name] = breaks.Split(string(l.Data), -1)
		}
	}
	out := slices.Clone(r)
	for i, e := range out {
		if of := lines[e.File]; e.Line > 0 && e.Line <= len(of) {
			out[i].Excerpt = excerpt(of[e.Line-1], e)
		}
	}
	return out
}

// excerpt masks a line for an entry.
func excerpt(line string, e Entry) Excerpt {
	m := masker{rest: strings.TrimPrefix(line, "\ufeff"), entry: e, known: knownKeys()}
	m.line()
	if m.out.Column == 0 { // past the end, or nothing is there
		m.out.Column, m.out.Width = utf8.RuneCountInString(m.text.String())+1, 1
	}
	m.out.Text = m.text.String()
	return m.out.cut()
}

// widest is how much of a line is shown.
const widest = 100

// cut leaves of a long line what is around the mistake.
func (x Excerpt) cut() Excerpt {
	runes := []rune(x.Text)
	if len(runes) <= widest {
		x.Text = strings.TrimRight(x.Text, " ")
		return x
	}
	from := min(max(0, x.Column-widest/2), len(runes)-widest)
	text := string(runes[from : from+widest])
	if from > 0 {
		text, x.Column = unnamed+text, x.Column-from+1
	}
	if from+widest < len(runes) {
		text += unnamed
	}
	x.Text, x.Width = text, min(x.Width, widest)
	return x
}

// masker reads one line of YAML, alone: it does not know whether the line is the inside
// of a text, and so shows nothing but known keys and the marks of YAML.
type masker struct {
	rest   string
	column int // of rest in the line, in letters from 0
	entry  Entry
	known  map[string]bool
	flow   []byte // the open brackets
	value  bool   // what comes next is a value
	text   strings.Builder
	out    Excerpt
}

func (m *masker) line() {
	for m.rest != "" {
		switch c := m.rest[0]; {
		case c == ' ' || c == '\t':
			m.put(1, " ")
		case c == '#' && (m.column == 0 || strings.HasSuffix(m.text.String(), " ")):
			m.put(len(m.rest), "# "+mask)
		case strings.IndexByte("{[", c) >= 0:
			m.put(1, string(c))
			m.flow, m.value = append(m.flow, c), c == '['
		case strings.IndexByte("}]", c) >= 0 && len(m.flow) > 0:
			m.put(1, string(c))
			m.flow, m.value = m.flow[:len(m.flow)-1], true
		case c == ',' && len(m.flow) > 0:
			m.put(1, ",")
			m.value = m.flow[len(m.flow)-1] == '['
		case c == ':' && ends(m.rest[1:]):
			m.put(1, ":")
			m.value = true
		case (c == '-' || c == '?') && ends(m.rest[1:]) && len(m.flow) == 0:
			m.put(1, string(c))
		default:
			m.word(m.length())
		}
	}
}

// ends says whether rest begins where a mark of YAML ends.
func ends(rest string) bool { return rest == "" || rest[0] == ' ' || rest[0] == '\t' }

var (
	// quoted are the texts in quotes, to the end of the line where that is missing.
	quotedText = regexp.MustCompile(`^"(\\.|[^"\\])*("|\\?$)|^'('?[^'])*('|$)`)
	blockEnd   = regexp.MustCompile(`:([ \t]|$)|[ \t]#`)
	flowEnd    = regexp.MustCompile(`:([ \t,\]}]|$)|[ \t]#|[,{}\[\]]`)
)

// length is how many bytes of rest are one word: a key or a value.
func (m *masker) length() int {
	if at := quotedText.FindString(m.rest); at != "" {
		return len(at)
	}
	end := blockEnd
	if len(m.flow) > 0 {
		end = flowEnd
	}
	n := len(m.rest)
	if at := end.FindStringIndex(m.rest); at != nil {
		n = at[0]
	}
	if n == 0 { // a mark where none can stand
		_, n = utf8.DecodeRuneInString(m.rest)
	}
	return max(1, len(strings.TrimRight(m.rest[:n], " \t")))
}

// word writes a key that is known or that the entry names, or masks it.
func (m *masker) word(n int) {
	word := m.rest[:n]
	here := m.at(n)
	after := strings.TrimLeft(m.rest[n:], " \t")
	key := !m.value && (strings.HasPrefix(after, ":") || len(m.flow) > 0 && m.known[word])
	switch named := strings.HasSuffix("."+m.entry.Path, "."+word); {
	case key && (m.known[word] || here && named && likeKey(word, nil)):
	case here && m.value && harmless(word, m.entry):
	default:
		word = mask
	}
	m.put(n, word)
}

// at says whether the entry's place is in the next n bytes.
func (m *masker) at(n int) bool {
	place := m.entry.Column - 1
	return m.out.Column == 0 && place >= m.column && place < m.column+utf8.RuneCountInString(m.rest[:n])
}

// put takes n bytes of the line and writes text for them.
func (m *masker) put(n int, text string) {
	if m.at(n) {
		m.out.Column, m.out.Width = utf8.RuneCountInString(m.text.String())+1, utf8.RuneCountInString(text)
	}
	m.column += utf8.RuneCountInString(m.rest[:n])
	m.rest = m.rest[n:]
	m.text.WriteString(text)
}

var (
	secretPlace = regexp.MustCompile(`(?i)secret|passw|key|token|credential|webhook|url|header|environment|registry|user|hash`)
	plainValue  = regexp.MustCompile(`^-?[0-9]{1,5}([.][0-9]{1,2})?([a-z]{1,2})?$|^(?i:true|false|yes|no|on|off|null|~)$`)
	choices     = regexp.MustCompile(`^must be one of ([^(]*)`)
)

// harmless says whether a wrong value cannot be a secret: a short number, a truth
// value, or a word that is almost one of those that may stand there.
func harmless(word string, e Entry) bool {
	if secretPlace.MatchString(e.Path) {
		return false
	}
	if plainValue.MatchString(word) {
		return true
	}
	list := choices.FindStringSubmatch(e.Message)
	return list != nil && likeKey(word, nil) && nearest(word, strings.Fields(strings.ReplaceAll(list[1], "|", " "))) != ""
}

// knownKeys are the names of all keys: ours and distribution's.
var knownKeys = sync.OnceValue(func() map[string]bool {
	known := map[string]bool{"redoubt": true}
	for _, name := range leaves() {
		known[strings.TrimSuffix(name, "[]")] = true
	}
	var add func(t reflect.Type, depth int)
	add = func(t reflect.Type, depth int) {
		t = checkedAs(t, "")
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			add(t.Elem(), depth)
		case reflect.Struct:
			if t == durationType || depth > maxDepth {
				return
			}
			for _, f := range fieldsOf(t) {
				known[f.key] = true
				add(f.typ, depth+1)
			}
		}
	}
	add(reflect.TypeFor[configuration.Configuration](), 0)
	return known
})
