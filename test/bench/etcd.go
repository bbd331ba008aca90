package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

// runEtcd is etcd as it is: the peer that the core is measured against.
func runEtcd(args []string) {
	etcdmain.Main(append([]string{os.Args[0]}, args...))
}
