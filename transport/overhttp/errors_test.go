package overhttp_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport/overhttp"
)

func TestServersThatWantToBeLeftAlone(t *testing.T) {
	u := &url.URL{Scheme: "https", Host: "relay"}
	for _, c := range []struct {
		status int
		after  string
		want   time.Duration
	}{
		{503, "7", 7 * time.Second},
		{429, "120", 2 * time.Minute},
		{503, "100000", 5 * time.Minute},
		{503, "Fri, 20 Nov 2026 10:00:00 GMT", 0},
		{503, "-1", 0},
		{503, "", 0},
		{404, "7", 0},
	} {
		err := overhttp.StatusError(u, &http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {c.after}}}, "")
		if got := postern.RetryAfterOf(err); got != c.want || postern.KindOf(err) != postern.Unreachable {
			t.Errorf("%d, %q: %v, want %v", c.status, c.after, got, c.want)
		}
	}
}
