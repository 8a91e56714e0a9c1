package descriptor

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/redis/go-redis/v9"
)

// Client makes a client from distribution's own redis section. A timeout of
// the section counts where it is shorter than the budget; nothing is retried.
func Client(section configuration.Redis) (redis.UniversalClient, error) {
	return newClient(section, defaultBudget)
}

func newClient(section configuration.Redis, budget time.Duration) (redis.UniversalClient, error) {
	o := section.Options
	if len(o.Addrs) == 0 {
		return nil, fmt.Errorf("cannot use Redis: redis.addrs is empty")
	}
	config, err := clientTLS(section.TLS)
	if err != nil {
		return nil, err
	}
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: o.Addrs, ClientName: o.ClientName, DB: o.DB, Protocol: o.Protocol,
		Username: o.Username, Password: o.Password,
		SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
		MaxRetries: -1, DialTimeout: within(o.DialTimeout, budget), ReadTimeout: within(o.ReadTimeout, budget),
		WriteTimeout: within(o.WriteTimeout, budget), PoolTimeout: within(o.PoolTimeout, budget),
		ContextTimeoutEnabled: true, PoolFIFO: o.PoolFIFO, PoolSize: o.PoolSize,
		MinIdleConns: o.MinIdleConns, MaxIdleConns: o.MaxIdleConns, MaxActiveConns: o.MaxActiveConns,
		ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime,
		MaxRedirects: o.MaxRedirects, ReadOnly: o.ReadOnly, RouteByLatency: o.RouteByLatency,
		RouteRandomly: o.RouteRandomly, MasterName: o.MasterName,
		DisableIdentity: true, TLSConfig: config,
	}), nil
}

func within(timeout, budget time.Duration) time.Duration {
	if timeout <= 0 || timeout > budget {
		return budget
	}
	return timeout
}

// clientTLS returns nil where the section asks for no TLS, as upstream does.
func clientTLS(section configuration.RedisTLSOptions) (*tls.Config, error) {
	if section.Certificate == "" && section.Key == "" && len(section.RootCAs) == 0 {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if section.Certificate != "" || section.Key != "" {
		pair, err := tls.LoadX509KeyPair(section.Certificate, section.Key)
		if err != nil {
			return nil, fmt.Errorf("cannot use redis.tls.certificate and redis.tls.key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	for _, path := range section.RootCAs {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot use redis.tls.rootcas: %w", err)
		}
		if config.RootCAs == nil {
			config.RootCAs = x509.NewCertPool()
		}
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("cannot use redis.tls.rootcas: %s holds no certificate", path)
		}
	}
	return config, nil
}
