package role

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Path is where the credentials are on the socket.
const Path = "/credentials"

// Options are what the caller of Serve chooses.
type Options struct {
	Metadata string        // URL of the metadata service; empty: those of Endpoints
	User     string        // the user who may ask, beside root
	Grant    string        // path of the file that says whether User may ask now
	Idle     time.Duration // after this long without a request Serve returns
	Listener net.Listener  // nil: the one that systemd passes
}

// Serve answers on a unix socket until ctx ends, or until nobody has asked for a while:
// systemd starts it again at the next request. Its log goes to w, and holds no secret.
func Serve(ctx context.Context, o Options, w *log.Logger) error {
	l, err := o.listener()
	if err != nil {
		return err
	}
	uid, err := number(o.User)
	if err != nil {
		return err
	}
	idle := time.NewTimer(o.Idle)
	defer idle.Stop()
	g := gate{user: uid, name: o.User, grant: o.Grant}
	cache := &Cache{Fetcher: o.metadata(), Now: time.Now, Log: w.Printf}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			idle.Reset(o.Idle)
			answer(w, r, g, cache)
		}),
		ConnContext:       withPeer,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      2 * fetchTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          w,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("cannot serve credentials: %w", err)
	case <-ctx.Done():
	case <-idle.C:
	}
	end, cancel := context.WithTimeout(context.Background(), 2*fetchTimeout)
	defer cancel()
	return server.Shutdown(end)
}

// Check asks the metadata service once, and writes what it gives to w, without the
// secrets.
func Check(ctx context.Context, o Options, w io.Writer) error {
	c, err := o.metadata().Fetch(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "the instance has a role: its access key is %s until %s\n", c.AccessKeyID, c.Expiration.UTC().Format(time.RFC3339))
	return err
}

func (o Options) metadata() Metadata {
	if o.Metadata != "" {
		return Metadata{Endpoints: []string{o.Metadata}}
	}
	return Metadata{Endpoints: Endpoints()}
}

// listener is the socket to answer on.
func (o Options) listener() (net.Listener, error) {
	if o.Listener != nil {
		return o.Listener, nil
	}
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("cannot take over the socket: %w", err)
	}
	if len(all) != 1 || all[0] == nil {
		return nil, fmt.Errorf("cannot serve credentials: systemd passed %d sockets, not one: start redoubt-credentials.socket instead", len(all))
	}
	return all[0], nil
}

// number is the uid of a user.
func number(name string) (uint32, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("cannot tell who may ask for credentials: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(uid), err
}

// gate decides who gets credentials.
type gate struct {
	user  uint32
	name  string
	grant string
}

// pass is nil for a user who may have the credentials. Root can ask the metadata service
// itself; the registry may while its configuration uses the role.
func (g gate) pass(p *peer) error {
	switch {
	case p.err != nil:
		return problem(NotAllowed, fmt.Sprintf("cannot tell who asks: %v", p.err))
	case p.uid == 0:
		return nil
	case p.uid != g.user:
		return problem(NotAllowed, fmt.Sprintf("uid %d may not have the credentials of the instance's role: root and %s may", p.uid, g.name))
	}
	return granted(g.grant)
}

// granted reads what redoubt apply wrote for the registry.
func granted(path string) error {
	var g struct{ Role bool }
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &g)
	}
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return problem(Unavailable, fmt.Sprintf("cannot read %s: run redoubt apply to write it again", path))
	case !g.Role:
		return problem(NotAllowed, "the configuration does not use the instance's role: set storage.s3.iamRole and run redoubt apply")
	}
	return nil
}

// peer is the process at the other end of a connection, as the kernel knew it when
// it connected.
type peer struct {
	uid uint32
	err error
}

type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}

// peerOf reads SO_PEERCRED, see unix(7).
func peerOf(c net.Conn) *peer {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return &peer{err: errors.New("the connection is not over a unix socket")}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return &peer{err: err}
	}
	p := &peer{}
	if err := raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, p.err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); p.err == nil {
			p.uid = cred.Uid
		}
	}); err != nil {
		p.err = err
	}
	return p
}

func answer(w http.ResponseWriter, r *http.Request, g gate, cache *Cache) {
	p, ok := r.Context().Value(peerKey{}).(*peer)
	if !ok {
		p = &peer{err: errors.New("no peer")}
	}
	err := g.pass(p)
	if err == nil && (r.URL.Path != Path || r.Method != http.MethodGet) {
		err = problem(NotFound, "the credentials are at GET "+Path)
	}
	var c Credentials
	if err == nil {
		c, err = cache.Get(r.Context())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		p := asProblem(err)
		w.WriteHeader(p.status())
		json.NewEncoder(w).Encode(p) // the client is gone
		return
	}
	json.NewEncoder(w).Encode(c) // the client is gone
}
