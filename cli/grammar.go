package cli

import "github.com/postern-dev/postern/config"

// grammar is every command, in the order of the help.
type grammar struct {
	Help helpFlag `short:"h" help:"show this help"`

	Up      upCmd     `cmd:"" help:"try it: relay and agent in one process on this machine"`
	Relay   relayCmd  `cmd:"" help:"run the public side"`
	Agent   agentCmd  `cmd:"" help:"run the inner side, beside the services"`
	Expose  exposeCmd `cmd:"" help:"open a public port on the relay for as long as this runs"`
	Forward fwdCmd    `cmd:"" help:"open local ports that lead through the relay to targets"`
	Connect connCmd   `cmd:"" help:"connect standard input and output to a target, as for ssh's ProxyCommand"`

	Join   joinCmd   `cmd:"" help:"strings that bring an agent or a client to the relay"`
	Agents agentsCmd `cmd:"" help:"agents of the relay on this machine"`
	Auth   authCmd   `cmd:"" help:"keys and tokens"`
	Config configCmd `cmd:"" help:"check and print the configuration"`

	Version    versionCmd    `cmd:"" help:"print the version"`
	Completion completionCmd `cmd:"" help:"print a completion script for a shell"`
}

// newGrammar returns a grammar that nothing was parsed into yet.
func newGrammar() *grammar {
	g := &grammar{}
	g.Relay.keyFlags = newKeyFlags(config.RoleRelay)
	g.Agent.keyFlags = newKeyFlags(config.RoleAgent)
	g.Forward.keyFlags = newKeyFlags(config.RoleClient)
	g.Connect.keyFlags = newKeyFlags(config.RoleClient)
	g.Expose.TCP.keyFlags = newKeyFlags(config.RoleClient)
	return g
}
