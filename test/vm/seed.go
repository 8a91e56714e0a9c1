package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// instance is the instance's id: the same whatever the user-data, as on a cloud.
const instance = "redoubt"

// Seed makes the machine's NoCloud medium: an ISO 9660 volume named cidata with
// the user-data given.
// (cloud-init's documentation: reference/datasources/nocloud.)
func (m Machine) Seed(ctx context.Context, userData []byte) error {
	dir := m.path("seed")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, data := range map[string][]byte{
		"user-data": userData,
		"meta-data": []byte("instance-id: " + instance + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "xorrisofs", "-quiet", "-volid", "cidata", "-joliet", "-rational-rock",
		"-output", m.path(seedFile)+".new", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make the NoCloud medium: %w: %s (make bootstrap installs xorriso)", err, strings.TrimSpace(string(out)))
	}
	return os.Rename(m.path(seedFile)+".new", m.path(seedFile))
}
