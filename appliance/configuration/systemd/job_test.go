package systemd

import "testing"

func TestJobErrorPointsToTheJournal(t *testing.T) {
	for _, tt := range []struct {
		err  *JobError
		want string
	}{
		{&JobError{"restart", "x.service", "failed", "exit-code"}, "cannot restart x.service: failed, exit-code; the reason is in: journalctl -u x.service"},
		{&JobError{"start", "x.service", "dependency", "success"}, "cannot start x.service: dependency; the reason is in: journalctl -u x.service"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
