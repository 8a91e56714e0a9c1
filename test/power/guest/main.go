// Command guest is the only program of a machine that does nothing but publish:
// certificates and state, one generation after the other, on an ext4 file system. It
// says on the console which one it was told is written.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

const data = "/data"

func main() {
	fmt.Println("guest failed:", run()) // it returns for nothing else
	time.Sleep(time.Hour)               // process 1 must not end
}

func run() error {
	careless, err := start()
	if err != nil {
		return err
	}
	store := sharedstate.Dir{Path: data + "/acme", Mode: 0o600, GID: -1, Now: time.Now}
	version := ""
	for n := 1; ; n++ {
		certPEM, key, err := cert.SelfSigned([]string{fmt.Sprintf("g%d.example", n)}, time.Now(), rand.Reader)
		if err != nil {
			return err
		}
		if careless {
			err = inPlace(certPEM, key)
		} else {
			err = cert.Publish(data+"/certificates", -1, cert.Pair{Chain: certPEM, Key: key})
		}
		if err != nil {
			return err
		}
		if !careless {
			object := fmt.Appendf(nil, "%d %s %d", n, bytes.Repeat([]byte("."), 20_000), n)
			if version, err = store.Put(context.Background(), "state.json", object, version); err != nil {
				return err
			}
		}
		fmt.Println("published", n)
	}
}

// inPlace is how it must not be done: the test has to find out.
func inPlace(certPEM, key []byte) error {
	dir := filepath.Join(data, "certificates", "current")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "tls.crt"), certPEM, 0o644), os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600))
}

// start mounts the disk. It says whether the kernel's command line asks for
// carelessness.
func start() (careless bool, err error) {
	for _, dir := range []string{"/dev", "/proc", data} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return false, err
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return false, err
	}
	if err := unix.Mount("dev", "/dev", "devtmpfs", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return false, err
	}
	module, err := os.Open("/virtio_blk.ko")
	if err != nil {
		return false, err
	}
	defer module.Close()
	if err := unix.FinitModule(int(module.Fd()), "", 0); err != nil {
		return false, fmt.Errorf("cannot load the driver of the disk: %w", err)
	}
	for range 200 {
		if _, err = os.Stat("/dev/vda"); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := unix.Mount("/dev/vda", data, "ext4", 0, ""); err != nil {
		return false, fmt.Errorf("cannot mount the disk: %w", err)
	}
	line, err := os.ReadFile("/proc/cmdline")
	return strings.Contains(string(line), "careless"), err
}
