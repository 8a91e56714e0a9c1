package bounds

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// pieces notes what is written at a time.
type pieces struct {
	*httptest.ResponseRecorder
	largest int
}

func (p *pieces) Write(data []byte) (int, error) {
	p.largest = max(p.largest, len(data))
	return p.ResponseRecorder.Write(data)
}

// A slow client is not cut for what a handler writes at once: each piece of it may take as
// long as the bound says.
func TestALargeWriteGoesInPieces(t *testing.T) {
	for _, size := range []int{0, 1, piece, piece + 1, 8 * piece} {
		w := &pieces{ResponseRecorder: httptest.NewRecorder()}
		gate := NewGate(Bounds{}.OrDefault())
		gate.handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if n, err := w.Write(make([]byte, size)); n != size || err != nil {
				t.Errorf("%d of %d bytes: %v", n, size, err)
			}
		})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Body.Len() != size || w.largest > piece {
			t.Errorf("%d of %d bytes, up to %d at once", w.Body.Len(), size, w.largest)
		}
	}
}
