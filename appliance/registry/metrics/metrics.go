// Package metrics counts requests and shows the state of the server, on a loopback
// address or to who has a login for it.
package metrics

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

// Metrics are those of one server, in a registry of their own.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	reloads  *prometheus.CounterVec
}

// Sample is a value that is read when it is asked for.
type Sample struct {
	Name, Help string
	Counter    bool // it only grows; otherwise a gauge
	Value      func() float64
}

// Vector is a value for each of some words, which are read when they are asked for.
type Vector struct {
	Name, Help, Label string
	Values            func() map[string]float64
}

func (v Vector) desc() *prometheus.Desc {
	return prometheus.NewDesc(v.Name, v.Help, []string{v.Label}, nil)
}

// Describe and Collect are what prometheus asks of a collector.
func (v Vector) Describe(c chan<- *prometheus.Desc) { c <- v.desc() }

func (v Vector) Collect(c chan<- prometheus.Metric) {
	for word, value := range v.Values() {
		c <- prometheus.MustNewConstMetric(v.desc(), prometheus.GaugeValue, value, word)
	}
}

// Add adds vectors to the metrics.
func (m *Metrics) Add(vectors ...Vector) {
	for _, v := range vectors {
		m.registry.MustRegister(v)
	}
}

// New makes the metrics; samples are added to them.
func New(samples ...Sample) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "redoubt_http_requests_total", Help: "Answered requests.",
		}, []string{"method", "route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "redoubt_http_request_seconds", Help: "Time from the request to the end of its answer.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60, 600},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "redoubt_http_in_flight", Help: "Requests being answered.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "redoubt_reloads_total", Help: "Reloads, by what came of them.",
		}, []string{"result"}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.inFlight, m.reloads)
	for _, s := range samples {
		if s.Counter {
			m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: s.Name, Help: s.Help}, s.Value))
			continue
		}
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: s.Name, Help: s.Help}, s.Value))
	}
	return m
}

// Describe sends what every metric is: docs/metrics.md is made from that.
func (m *Metrics) Describe(c chan<- *prometheus.Desc) { m.registry.Describe(c) }

// Begin counts a request in; the function it returns counts it out.
func (m *Metrics) Begin(r *http.Request, began time.Time) func(status int) {
	m.inFlight.Inc()
	kind := Route(r.URL.Path)
	return func(status int) {
		m.inFlight.Dec()
		m.requests.WithLabelValues(method(r.Method), kind, strconv.Itoa(status)).Inc()
		m.seconds.WithLabelValues(kind).Observe(time.Since(began).Seconds())
	}
}

// Reload counts a reload.
func (m *Metrics) Reload(err error) {
	if err != nil {
		m.reloads.WithLabelValues("refused").Inc()
		return
	}
	m.reloads.WithLabelValues("done").Inc()
}

// method keeps what clients invent out of the labels.
func method(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return m
	}
	return "other"
}

// Route is the kind of a path; there are eight.
func Route(path string) string {
	if path == "/" {
		return "page"
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return string(route.None)
	}
	return string(route.Of(rest))
}

// Handler serves /metrics, distribution's own ones too, and /healthz, which is
// 503 with the failures by name while there are any.
func (m *Metrics) Handler(failures func(*http.Request) map[string]string) http.Handler {
	mux := http.NewServeMux()
	gatherers := prometheus.Gatherers{prometheus.DefaultGatherer, m.registry}
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		failed := failures(r)
		w.Header().Set("Content-Type", "application/json")
		if len(failed) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(failed) // the client may be gone
	})
	return mux
}

// maxScrapes is how many connections there may be from elsewhere: the registry's bounds
// are not for them.
const maxScrapes = 32

// Listen binds addr, which must be a loopback address if it is not guarded by a login.
func Listen(addr string, guarded bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("cannot use http.debug.addr: it must be an address and a port")
	}
	ip, err := netip.ParseAddr(host)
	if !guarded && host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("cannot use http.debug.addr: it must be a loopback address, such as 127.0.0.1:5001, or have metrics.auth")
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for metrics (http.debug.addr): %w", err)
	}
	if guarded {
		l = netutil.LimitListener(l, maxScrapes)
	}
	return l, nil
}
