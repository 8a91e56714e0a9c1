package metadata

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// Nova is the metadata service of OpenStack, as far as user-data goes ("Metadata
// service", OpenStack Compute's user documentation). It asks for no tokens.
type Nova struct {
	mu       sync.Mutex
	userData string
}

// UserData is what the service tells about user-data.
func (n *Nova) UserData(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.userData = text
}

// NovaMetadata is meta_data.json, of one instance whatever its user-data.
func NovaMetadata() []byte {
	text, err := json.Marshal(map[string]string{"uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "name": "registry", "hostname": "registry.novalocal"})
	if err != nil {
		panic(err) // of strings there is none
	}
	return text
}

func (n *Nova) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	userData := n.userData
	n.mu.Unlock()
	switch r.URL.Path {
	case "/openstack", "/openstack/":
		fmt.Fprint(w, "2018-08-27\nlatest\n")
	case "/openstack/2018-08-27/meta_data.json", "/openstack/latest/meta_data.json":
		w.Write(NovaMetadata()) // the client is gone
	case "/openstack/2018-08-27/user_data", "/openstack/latest/user_data":
		fmt.Fprint(w, userData)
	case "/latest/meta-data", "/latest/meta-data/":
		fmt.Fprint(w, "instance-id\n")
	case "/latest/meta-data/instance-id":
		fmt.Fprint(w, "i-00000001")
	default:
		http.Error(w, "404 Not Found", http.StatusNotFound)
	}
}
