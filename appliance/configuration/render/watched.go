package render

import (
	"github.com/distribution/distribution/v3/configuration"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// watched says who may read the metrics from elsewhere, where the audit log goes beside the
// journal, and which file has the endpoints that are told of pushes.
func watched(cfg config.Config, options configuration.Parameters) {
	if a := cfg.Metrics.Auth; a.TokenHash != "" || len(a.ClientCAs) > 0 {
		monitor := map[string]any{}
		if a.TokenHash != "" {
			monitor["token"] = a.TokenHash
		}
		if len(a.ClientCAs) > 0 {
			monitor["cas"] = paths.MetricsCAs
		}
		options["monitor"] = monitor
	}
	audit := map[string]any{}
	if f := cfg.Audit.File; f.Enabled {
		audit["file"] = map[string]any{"path": paths.Audit + "/audit.log", "size": config.Bytes(f.Size), "keep": f.Keep}
	}
	if s := cfg.Audit.Syslog; s.Address != "" {
		syslog := map[string]any{"address": s.Address, "spool": paths.Audit + "/syslog", "limit": config.Bytes(s.Spool)}
		if s.CABundle != "" {
			syslog["cas"] = paths.SyslogCA
		}
		audit["syslog"] = syslog
	}
	if len(audit) > 0 {
		options["audit"] = audit
	}
	if len(cfg.Notifications) > 0 {
		options["notifications"] = paths.Notifications
	}
}
