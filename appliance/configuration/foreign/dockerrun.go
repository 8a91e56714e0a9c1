package foreign

import (
	"errors"
	"path"
	"strings"
)

// dockerRun takes the docker run of a registry out of a shell script or a history of
// commands.
func (d *draft) dockerRun(script string) error {
	script = strings.ReplaceAll(strings.ReplaceAll(script, "\\\r\n", " "), "\\\n", " ")
	dir, found := path.Dir(d.source), false
	vars := map[string]string{"PWD": dir}
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if every(line, setting) && !strings.Contains(line, " ") {
			for name, value := range dotenv(line) {
				vars[name], _ = interpolate(value, vars)
			}
		}
		if !dockerRun.MatchString(line) {
			continue
		}
		words := shellWords(strings.NewReplacer("$(pwd)", "$PWD", "`pwd`", "$PWD").Replace(line), vars)
		if !isRegistry(words) || found {
			continue
		}
		found = true
		d.describes(stockImages)
		d.options(words, dir)
	}
	if !found {
		return errors.New("no docker run in it starts the image registry")
	}
	return d.mountedConfig(nil)
}

func isRegistry(words []word) bool {
	for _, w := range words {
		if registryImage.MatchString(w.text) && !strings.HasPrefix(w.text, "-") {
			return true
		}
	}
	return false
}

func (d *draft) options(words []word, dir string) {
	all := func(s string) (string, bool) { return s, true }
	for i := 0; i < len(words); i++ {
		name, value, joined := strings.Cut(words[i].text, "=")
		whole := words[i].whole
		switch name {
		case "-e", "--env", "-v", "--volume", "-p", "--publish", "--env-file", "--mount":
			if !joined && i+1 < len(words) {
				i++
				value, whole = words[i].text, words[i].whole
			}
		default:
			continue
		}
		switch name {
		case "-e", "--env":
			if !whole {
				name, _, _ := strings.Cut(value, "=")
				value = name
			}
			d.environment([]any{value}, all)
		case "-v", "--volume":
			switch parts := strings.Split(value, ":"); {
			case len(parts) < 2:
			case !strings.ContainsAny(parts[0], "/."):
				d.volume(parts[0], parts[1])
			case path.IsAbs(parts[0]):
				d.mounts = append(d.mounts, mount{parts[0], path.Clean(parts[1])})
			default:
				d.mounts = append(d.mounts, mount{path.Join(dir, parts[0]), path.Clean(parts[1])})
			}
		case "-p", "--publish":
			d.ports([]any{value}, all)
		case "--env-file":
			if data, ok := d.beside(dir, value); ok {
				d.assignments(File{Name: value, Data: data})
			} else {
				d.missing("registry", "--env-file", value+" cannot be read: give it as a FILE too")
			}
		}
	}
}

type word struct {
	text  string
	whole bool // no variable in it is without a value
}

// shellWords splits a command as a shell does, as far as quotes and variables go.
func shellWords(line string, vars map[string]string) []word {
	var words []word
	var b strings.Builder
	open, started, whole := byte(0), false, true
	flush := func() {
		if started {
			words = append(words, word{b.String(), whole})
		}
		b.Reset()
		started, whole = false, true
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case open == 0 && (c == ' ' || c == '\t' || c == '\n'):
			flush()
			continue
		case c == '\'' && open != '"', c == '"' && open != '\'':
			if open == c {
				open = 0
			} else {
				open = c
			}
		case c == '\\' && open != '\'' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case c == '$' && open != '\'':
			use := variableUse.FindString(line[i:])
			if use == "" || use == "$$" || !strings.HasPrefix(line[i:], use) {
				b.WriteByte(c)
				break
			}
			value, ok := interpolate(use, vars)
			b.WriteString(value)
			whole = whole && ok
			i += len(use) - 1
		default:
			b.WriteByte(c)
		}
		started = true
	}
	flush()
	return words
}
