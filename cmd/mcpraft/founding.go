package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/snapshot/recovery"
)

// A foundingPlace is where a restored cluster begins: a data directory that is not
// there yet, of a node.
type foundingPlace struct {
	into string
	node string
}

func (p *foundingPlace) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.into, "into", "", "data `DIRECTORY` to make; empty: node.data_dir of the configuration")
	f.StringVar(&p.node, "node", "", "`NAME` of the node that it is for; empty: node.name of the configuration")
	_ = cmd.MarkFlagDirname("into")
}

// complete takes from the configuration what the flags do not say.
func (p *foundingPlace) complete(a *app, from *configFlags) error {
	if p.into == "" || p.node == "" {
		loaded, err := from.load(a)
		if err != nil {
			return err
		}
		if p.into == "" {
			p.into = loaded.Config.Node.DataDir
		}
		if p.node == "" {
			p.node = loaded.Config.Node.Name
		}
	}
	var err error
	if p.into, err = filepath.Abs(p.into); err != nil {
		return err
	}
	return record.ValidNode(p.node)
}

func (p *foundingPlace) config() raftnode.OfflineConfig { return raftnode.OfflineConfig{Dir: p.into} }

// check is a Conflict when the directory holds anything.
func (p *foundingPlace) check() error { return raftnode.CanFound(p.config()) }

// found makes the data directory around the state that recover makes. What an
// attempt that was cut short has left beside it is no use to anybody.
func (p *foundingPlace) found(recover func(recovery.Target) (recovery.Restored, error)) (recovery.Restored, error) {
	if err := os.MkdirAll(filepath.Dir(p.into), 0o750); err != nil {
		return recovery.Restored{}, err
	}
	state, disk := p.into+".recovered", raftnode.NewDisk()
	if err := os.RemoveAll(state); err != nil {
		return recovery.Restored{}, err
	}
	done, err := recover(recovery.Target{Dir: state, Configuration: raftnode.SoleVoter(p.node, disk)})
	if err != nil {
		return recovery.Restored{}, err
	}
	_, err = raftnode.Found(p.config(), raftnode.Founding{State: done.Dir, Node: p.node, Disk: disk})
	return done, err
}
