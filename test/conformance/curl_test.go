//go:build linux

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-dev/postern/test/rig"
)

func TestCurlToTLSSite(t *testing.T) {
	site := rig.Nginx(t)
	overEachTransport(t, func(t *testing.T, b *bed) {
		for name, client := range b.ways(t) {
			t.Run(name, func(t *testing.T) {
				r := b.curl(t, client, "--cacert", site.CA, site.URL("hello.txt"))
				r.MustSucceed(t, "curl")
				if r.Stdout != "hello from nginx\n" {
					t.Errorf("got %q", r.Stdout)
				}
			})
		}
	})
}

func TestCurlDownloadsThroughTLSSite(t *testing.T) {
	site := rig.Nginx(t)
	size := rig.Size(64<<20, 1<<30)
	hash := writeData(t, filepath.Join(site.Root, "big"), size)
	overEachTransport(t, func(t *testing.T, b *bed) {
		file := filepath.Join(t.TempDir(), "big")
		b.curl(t, b.client, "--cacert", site.CA, "-o", file, site.URL("big")).MustSucceed(t, "curl")
		if got := rig.FileHash(t, file); got != hash {
			t.Errorf("the hash is %s, want %s", got, hash)
		}
	})
}

func TestForwardProxy(t *testing.T) {
	web := rig.Web(t)
	const size = 5 << 20
	hash := rig.DataHash(t, size)
	upload := filepath.Join(t.TempDir(), "upload")
	writeData(t, upload, size)
	overEachTransport(t, func(t *testing.T, b *bed) {
		for name, client := range b.ways(t) {
			t.Run(name, func(t *testing.T) {
				for _, c := range []struct {
					name string
					args []string
					want string
				}{
					{"get", []string{web.URL + "/hello"}, "hello from the target\n"},
					{"by name", []string{strings.Replace(web.URL, "127.0.0.1", "localhost", 1) + "/hello"}, "hello from the target\n"},
					{"head", []string{"-I", "-o", os.DevNull, "-w", "%{http_code}\n", web.URL + "/hello"}, "200\n"},
					{"not found", []string{"-o", os.DevNull, "-w", "%{http_code}\n", web.URL + "/nowhere"}, "404\n"},
					{"upload", []string{"-T", upload, web.URL + "/upload"}, fmt.Sprintf("%s %d %d\n", hash, size, size)},
					{"chunked upload", []string{"-T", upload, "-H", "Transfer-Encoding: chunked", web.URL + "/upload"}, fmt.Sprintf("%s %d -1\n", hash, size)},
					{"empty post", []string{"-d", "", web.URL + "/upload"}, rig.DataHash(t, 0) + " 0 0\n"},
					{
						"two requests on one connection",
						[]string{"-o", os.DevNull, "-o", os.DevNull, "-w", "%{num_connects} ", web.URL + "/hello", web.URL + "/hello"},
						"1 0 ",
					},
				} {
					t.Run(c.name, func(t *testing.T) {
						r := b.curl(t, client, c.args...)
						r.MustSucceed(t, "curl "+strings.Join(c.args, " "))
						if r.Stdout != c.want {
							t.Errorf("got %q, want %q", r.Stdout, c.want)
						}
					})
				}
			})
		}
	})
}

// TestForwardProxyStreams downloads pages with and without a length, whole.
func TestForwardProxyStreams(t *testing.T) {
	web := rig.Web(t)
	const size = 8 << 20
	hash := rig.DataHash(t, size)
	overEachTransport(t, func(t *testing.T, b *bed) {
		for name, query := range map[string]string{"with a length": "", "up to the end of the connection": "&length=no"} {
			for way, flags := range map[string][]string{"absolute form": nil, "CONNECT": {"-p"}} {
				t.Run(name+", "+way, func(t *testing.T) {
					file := filepath.Join(t.TempDir(), "data")
					b.curl(t, b.client, append(flags, "-o", file, fmt.Sprintf("%s/data?n=%d%s", web.URL, size, query))...).MustSucceed(t, "curl")
					if got := rig.FileHash(t, file); got != hash {
						t.Errorf("the hash is %s, want %s", got, hash)
					}
				})
			}
		}
	})
}

// TestProxyCredentialsStayAtTheRelay is promise P-13, with the fields that are between client and proxy only (P-12).
func TestProxyCredentialsStayAtTheRelay(t *testing.T) {
	web := rig.Web(t)
	b := newBed(t, "tls")
	r := b.curl(t, b.client, "-H", "Connection: X-Private", "-H", "X-Private: 1", "-H", "X-Public: 1", "-H", "Authorization: Bearer mine", web.URL+"/headers")
	r.MustSucceed(t, "curl")
	for _, name := range []string{"Proxy-Authorization", "Proxy-Connection", "X-Private"} {
		if strings.Contains(strings.ToLower(r.Stdout), strings.ToLower(name)+":") {
			t.Errorf("%s reached the target:\n%s", name, r.Stdout)
		}
	}
	for _, line := range []string{"GET /headers", "X-Public: 1", "Authorization: Bearer mine"} {
		if !strings.Contains(r.Stdout, line) {
			t.Errorf("%q did not reach the target:\n%s", line, r.Stdout)
		}
	}
}
