//go:build faults

package faults

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// blob is bytes that are made again whenever they are needed.
type blob struct {
	seed   uint64
	text   string // if it is not random
	size   int
	digest string
}

func (b blob) data() []byte {
	if b.text != "" {
		return []byte(b.text)
	}
	data := make([]byte, b.size)
	var seed [32]byte
	for i := range 8 {
		seed[i] = byte(b.seed >> (8 * i))
	}
	_, _ = rand.NewChaCha8(seed).Read(data) // never fails
	return data
}

func newBlob(size int) blob {
	b := blob{seed: rand.Uint64(), size: size}
	b.digest = digestOf(b.data())
	return b
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// image is what a client pushes: a large layer, two smaller ones, a configuration
// and a manifest.
type image struct {
	repository, tag string
	serial          int
	blobs           []blob // the last one is the configuration
	manifest        []byte
}

// newImage makes one whose large layer is more than a part of a multipart upload,
// and for one client more than what a store copies at once.
func newImage(repository string, client, serial int) image {
	large := 9<<20 + rand.IntN(1<<20)
	if client == 0 {
		large += 32 << 20
	}
	i := image{repository: repository, tag: fmt.Sprintf("client-%d.%d", client, serial), serial: client + serial, blobs: []blob{
		newBlob(large), newBlob(700 << 10), newBlob(300<<10 + rand.IntN(1000)),
	}}
	var layers bytes.Buffer
	for n, b := range i.blobs {
		if n > 0 {
			layers.WriteString(",")
		}
		fmt.Fprintf(&layers, `{"mediaType":%q,"digest":%q,"size":%d}`, layerType, b.digest, b.size)
	}
	text := fmt.Sprintf(`{"architecture":"amd64","os":"linux","created by":"%x","rootfs":{"type":"layers","diff_ids":[]}}`, rand.Uint64())
	config := blob{text: text, size: len(text), digest: digestOf([]byte(text))}
	i.blobs = append(i.blobs, config)
	i.manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[%s]}`,
		manifestType, configType, config.digest, config.size, layers.String())
	return i
}
