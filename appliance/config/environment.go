package config

func validateEnvironment(vars []Variable, s spot) {}

// Overlay is what environment: and then registry: say, in distribution's own
// words. Null takes a setting away.
func (c Config) Overlay() map[string]any { return c.Registry }

// MergePatch lays patch on base as RFC 7386 has it: maps are merged, all else
// is replaced, nil takes away. Neither argument is changed.
func MergePatch(base, patch map[string]any) map[string]any {
	out := make(map[string]any, len(base))
	for key, v := range base {
		out[key] = v
	}
	for key, v := range patch {
		over, ok := v.(map[string]any)
		switch {
		case v == nil:
			delete(out, key)
		case ok:
			below, _ := out[key].(map[string]any)
			out[key] = MergePatch(below, over)
		default:
			out[key] = v
		}
	}
	return out
}
