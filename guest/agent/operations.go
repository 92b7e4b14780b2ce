// SPDX-License-Identifier: Apache-2.0
package main

import "encoding/json"

// operation is what a host may ask for by name. Before the claim, all copies of a snapshot are alike: nothing is made
// and nothing is told but what each of them may say.
type operation struct {
	beforeClaim bool
	do          func(a *agent, args json.RawMessage) (ok any, after func(), err error)
}

// operations is one table of three, each beside what it is about.
var operations = joined(machineOperations, attestOperations, workloadOperations)

var machineOperations = map[string]operation{
	"health":   {beforeClaim: true, do: reads(func(a *agent, _ struct{}) (any, error) { return a.health() })},
	"claim":    {beforeClaim: true, do: reads(func(a *agent, args claimArgs) (any, error) { return a.take(args) })},
	"shutdown": {beforeClaim: true, do: shutsDown},
}

// reads makes an operation of a function of its arguments, which are read strictly.
func reads[Args any](do func(*agent, Args) (any, error)) func(*agent, json.RawMessage) (any, func(), error) {
	return func(a *agent, given json.RawMessage) (any, func(), error) {
		var args Args
		if err := readStrictly(given, &args); err != nil {
			return nil, nil, err
		}
		ok, err := do(a, args)
		return ok, nil, err
	}
}

// shutsDown answers first.
func shutsDown(a *agent, given json.RawMessage) (any, func(), error) {
	if err := readStrictly(given, &struct{}{}); err != nil {
		return nil, nil, err
	}
	return struct{}{}, a.shutDown, nil
}

func joined(tables ...map[string]operation) map[string]operation {
	all := map[string]operation{}
	for _, table := range tables {
		for name, each := range table {
			all[name] = each
		}
	}
	return all
}
