package registry

import (
	"context"
	"fmt"
	"os"

	"github.com/distribution/distribution/v3/tracing"
)

// startTracing turns upstream's OpenTelemetry on if the environment asks for it. The stock
// registry always turns it on, and spends a third of its time there.
func startTracing(ctx context.Context) error {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		if os.Getenv(name) == "" {
			continue
		}
		if err := tracing.InitOpenTelemetry(ctx); err != nil {
			return fmt.Errorf("cannot start tracing (%s): %w", name, err)
		}
		return nil
	}
	return nil
}
