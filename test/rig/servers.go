//go:build linux

package rig

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serverWithin is how long a real server may take to start on a busy machine.
const serverWithin = 30 * time.Second

// Site is a running nginx with TLS.
type Site struct {
	Addr string // host:port, for TLS
	CA   string // the file that verifies it, as localhost
	Root string // its folder of files; it has hello.txt
}

// URL is the address of a page.
func (s *Site) URL(page string) string {
	_, port, _ := strings.Cut(s.Addr, ":")
	return "https://localhost:" + port + "/" + page
}

// Nginx starts nginx with one TLS site.
func Nginx(t testing.TB) *Site {
	t.Helper()
	dir := ShortDir(t)
	cert, key := Certificate(t)
	site := &Site{Addr: fmt.Sprintf("127.0.0.1:%d", FreePort(t)), CA: cert, Root: filepath.Join(dir, "root")}
	mustMkdir(t, site.Root)
	if err := os.WriteFile(filepath.Join(site.Root, "hello.txt"), []byte("hello from nginx\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "nginx.conf")
	text := strings.NewReplacer("DIR", dir, "ADDR", site.Addr, "CERT", cert, "KEY", key).Replace(`
daemon off;
master_process off;
pid DIR/pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	server {
		listen ADDR ssl;
		ssl_certificate CERT;
		ssl_certificate_key KEY;
		root DIR/root;
	}
}
`)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	Start(t, Program(t, "nginx"), "-p", dir, "-e", "stderr", "-c", config).Name = "nginx"
	Listening(t, serverWithin, site.Addr)
	return site
}

// SSHServer is a running sshd that lets the user of this process in with a key.
type SSHServer struct {
	Addr  string
	User  string
	flags []string
}

// Flags are what ssh needs to get in, by key, trusting this host key for any name.
func (s *SSHServer) Flags() []string { return append([]string(nil), s.flags...) }

// SSHD starts sshd with new host and user keys.
func SSHD(t testing.TB) *SSHServer {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		mustMkdir(t, "/run/sshd") // where sshd, as root, locks up what has not authenticated
	}
	dir := t.TempDir()
	hostKey, userKey := sshKey(t, dir, "host"), sshKey(t, dir, "user")
	port := FreePort(t)
	s := &SSHServer{Addr: fmt.Sprintf("127.0.0.1:%d", port), User: me.Username}
	config := Write(t, "sshd_config", strings.NewReplacer("PORT", strconv.Itoa(port), "HOSTKEY", hostKey, "USERKEY", userKey).Replace(`
ListenAddress 127.0.0.1:PORT
HostKey HOSTKEY
AuthorizedKeysFile USERKEY.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
`))
	known := Write(t, "known_hosts", "* "+mustRead(t, hostKey+".pub"))
	s.flags = []string{
		"-F", "none", "-i", userKey, "-l", s.User, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile=" + known, "-o", "GlobalKnownHostsFile=/dev/null", "-o", "ConnectTimeout=15", "-o", "LogLevel=ERROR",
	}
	Start(t, Program(t, "sshd"), "-D", "-e", "-f", config).Name = "sshd"
	Listening(t, serverWithin, s.Addr)
	return s
}

func sshKey(t testing.TB, dir, name string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	MustRun(t, commandWithin, Program(t, "ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file)
	return file
}

// Database is a running PostgreSQL that trusts the user postgres.
type Database struct {
	Port   int
	Addr   string // host:port
	Socket string // its unix socket; psql finds it as folder and port
}

// Postgres makes a new cluster and starts it.
func Postgres(t testing.TB) *Database {
	t.Helper()
	dir := ShortDir(t)
	credential := serverCredential(t, dir)
	initdb := exec.Command(Program(t, "initdb"), "-D", filepath.Join(dir, "d"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: credential}
	if code := StartCmd(t, "initdb", initdb).Exit(2 * serverWithin); code != 0 {
		t.Fatalf("initdb: exit code %d", code)
	}
	port := FreePort(t)
	d := &Database{Port: port, Addr: fmt.Sprintf("127.0.0.1:%d", port), Socket: fmt.Sprintf("%s/.s.PGSQL.%d", dir, port)}
	server := exec.Command(Program(t, "postgres"), "-D", filepath.Join(dir, "d"), "-k", dir, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-F")
	server.Dir, server.SysProcAttr = dir, &syscall.SysProcAttr{Credential: credential}
	StartCmd(t, "postgres", server)
	psql := Program(t, "psql")
	Eventually(t, serverWithin, "PostgreSQL answers", func() bool {
		return Run(t, 5*time.Second, psql, "-h", dir, "-p", strconv.Itoa(port), "-U", "postgres", "-c", "select 1").Code == 0
	})
	return d
}

// serverCredential is the account that PostgreSQL, which refuses to be root, runs as; dir becomes its own.
// It is nil where this process is not root.
func serverCredential(t testing.TB, dir string) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	uid, gid := giveTo(t, "postgres", dir)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// giveTo makes an account the owner of a folder, and returns its ids.
func giveTo(t testing.TB, name, dir string) (uid, gid int) {
	t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		t.Fatalf("%v; make setup installs the package that has this account", err)
	}
	uid, uidErr := strconv.Atoi(account.Uid)
	gid, gidErr := strconv.Atoi(account.Gid)
	if uidErr != nil || gidErr != nil {
		t.Fatalf("the account %s has the ids %q and %q", name, account.Uid, account.Gid)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return uid, gid
}

// RedisServer is a running redis-server.
type RedisServer struct {
	Addr   string
	Socket string
}

// Redis starts redis-server, on a port and on a unix socket.
func Redis(t testing.TB) *RedisServer {
	t.Helper()
	dir := ShortDir(t)
	port := FreePort(t)
	s := &RedisServer{Addr: fmt.Sprintf("127.0.0.1:%d", port), Socket: filepath.Join(dir, "redis.sock")}
	Start(t, Program(t, "redis-server"), "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--unixsocket", s.Socket,
		"--save", "", "--appendonly", "no", "--dir", dir, "--daemonize", "no").Name = "redis-server"
	Listening(t, serverWithin, s.Addr)
	Listening(t, serverWithin, s.Socket)
	return s
}

func mustMkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
