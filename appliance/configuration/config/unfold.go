package config

import (
	"errors"

	"go.yaml.in/yaml/v3"
)

var (
	errTooMuch  = errors.New("aliases (*name) unfold to too much: at most 20000 values are read")
	errMergeKey = errors.New("a merge key (<<) takes an alias of a group, such as <<: *name, or a list of them")
)

// unfold returns n with what its aliases stand for and with its merge keys carried out
// (YAML 1.1, "Merge Key Language-Independent Type"): a key that is written wins, then the
// first group that has it. What it makes is bounded. On an error it returns the node to
// blame.
func unfold(n *yaml.Node) (*yaml.Node, error) {
	left := maxValues + 1
	return unfolding(n, &left)
}

func unfolding(n *yaml.Node, left *int) (*yaml.Node, error) {
	if *left--; *left < 0 {
		return n, errTooMuch
	}
	if n.Kind == yaml.AliasNode {
		whole, err := unfolding(n.Alias, left)
		if err != nil {
			return n, err
		}
		return whole, nil
	}
	if len(n.Content) == 0 {
		return n, nil
	}
	out := *n
	out.Anchor, out.Content = "", make([]*yaml.Node, 0, len(n.Content))
	merged := false
	for i, child := range n.Content {
		whole, err := unfolding(child, left)
		if err != nil {
			return whole, err
		}
		merged = merged || n.Kind == yaml.MappingNode && i%2 == 0 && child.ShortTag() == "!!merge"
		out.Content = append(out.Content, whole)
	}
	if !merged {
		return &out, nil
	}
	return mergeKeys(&out)
}

// mergeKeys carries out the merge keys of a group whose aliases are unfolded.
func mergeKeys(n *yaml.Node) (*yaml.Node, error) {
	var written, from []*yaml.Node
	have := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.ShortTag() != "!!merge":
			written, have[key.Value] = append(written, key, value), true
		case value.Kind == yaml.SequenceNode:
			from = append(from, value.Content...)
		default:
			from = append(from, value)
		}
	}
	for _, other := range from {
		if other.Kind != yaml.MappingNode {
			return other, errMergeKey
		}
		for i := 0; i+1 < len(other.Content); i += 2 {
			if key := other.Content[i]; !have[key.Value] {
				written, have[key.Value] = append(written, key, other.Content[i+1]), true
			}
		}
	}
	n.Content = written
	return n, nil
}
