package auth

import "strings"

// SplitUser takes a client's user name apart: AGENT, or USER+AGENT. The agent is what stands after the last plus, because
// an agent id has none while a person's name may. Neither part is checked; the agent is empty only if the user
// name is empty or ends in a plus.
func SplitUser(user string) (name, agent string) {
	if i := strings.LastIndexByte(user, '+'); i >= 0 {
		return user[:i], user[i+1:]
	}
	return "", user
}
