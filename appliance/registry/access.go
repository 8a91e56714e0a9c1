package registry

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth"
)

// access decides what a client may do for the answers that are not the application's,
// as the application decides it for its own.
type access struct{ controller auth.AccessController }

func openAccess(c *configuration.Configuration) (access, error) {
	controller, err := auth.GetAccessController(c.Auth.Type(), c.Auth.Parameters())
	if err != nil {
		return access{}, fmt.Errorf("cannot use auth: %w", err)
	}
	return access{controller}, nil
}

// mayPull tells whether a client may pull from a repository. It has answered where it
// may not.
func (a access) mayPull(w http.ResponseWriter, r *http.Request, repository string) bool {
	err := a.pulls(r, repository)
	if err == nil {
		return true
	}
	challenge, ok := errors.AsType[auth.Challenge](err)
	if !ok { // what is wrong is not the client's to know
		w.WriteHeader(http.StatusBadRequest)
		return false
	}
	challenge.SetHeaders(r, w)
	_ = errcode.ServeJSON(w, errcode.ErrorCodeUnauthorized.WithDetail([]auth.Access{pull(repository)})) // the client has gone
	return false
}

// pulls says why a client may not pull from a repository.
func (a access) pulls(r *http.Request, repository string) error {
	_, err := a.controller.Authorized(r, pull(repository))
	return err
}

func pull(repository string) auth.Access {
	return auth.Access{Resource: auth.Resource{Type: "repository", Name: repository}, Action: "pull"}
}
