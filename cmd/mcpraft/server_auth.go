package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/server/auth"
)

// devTokenPrefix begins the tokens that dev makes, and no other.
const devTokenPrefix = "mcpraft_dev_"

// ownKeyFile is the key file that a node alone on loopback makes in its data
// directory.
const ownKeyFile = "auth.keys"

// authOptions are who may call, with the secrets that c names.
func authOptions(c *config.Config, log *slog.Logger) (auth.Options, error) {
	static, err := bootstrapToken(c, log)
	if err != nil {
		return auth.Options{}, err
	}
	issuers, err := c.AuthIssuers()
	if err != nil {
		return auth.Options{}, err
	}
	root, err := rootKeys(c, log)
	return auth.Options{Static: static, Issuers: issuers, PublicURL: c.PublicURL(), Root: root}, err
}

// bootstrapToken is the administrator's token of the configuration, if it names
// one.
func bootstrapToken(c *config.Config, log *slog.Logger) ([]auth.Static, error) {
	if c.Auth.BootstrapTokenFile == "" {
		log.Warn("auth.bootstrap_token_file is not set: the admin API takes only API tokens that were made before")
		return nil, nil
	}
	secret, err := config.ReadSecret(c.Auth.BootstrapTokenFile)
	if err != nil {
		return nil, err
	}
	token := auth.Static{Name: "bootstrap", Secret: secret, Method: auth.MethodToken}
	if strings.HasPrefix(secret, devTokenPrefix) {
		token.Name, token.Method = "dev", auth.MethodDev
	}
	return []auth.Static{token}, nil
}

// rootKeys are those of auth.key_file. Without one the node is alone on loopback,
// as the configuration made sure of, and has a file of its own.
func rootKeys(c *config.Config, log *slog.Logger) (seal.Ring, error) {
	if c.Auth.KeyFile != "" {
		return seal.LoadRing(c.Auth.KeyFile)
	}
	file := filepath.Join(c.Node.DataDir, ownKeyFile)
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return seal.LoadRing(file)
	}
	if _, err := os.Stat(filepath.Join(c.Node.DataDir, "node.json")); err == nil {
		return seal.Ring{}, fault.New(fault.NotFound, "the key file of this node, %s, is gone", file).
			WithHint("put it back from a copy of the data directory, or name the key file of the cluster as auth.key_file")
	}
	if err := os.MkdirAll(c.Node.DataDir, 0o700); err != nil {
		return seal.Ring{}, err
	}
	key, err := newKey(file, seal.AESGCM.String(), false)
	if err != nil {
		return seal.Ring{}, err
	}
	log.Info("key file made: without it the secrets in this node's state cannot be read; a second node needs it as auth.key_file", "file", file)
	return seal.NewRing(key), nil
}

// carryOwnKeys copies the key file that a node made for itself from its former
// data directory to the new one; without it the keys in its state are lost.
func carryOwnKeys(former, dir string) error {
	text, err := os.ReadFile(filepath.Join(former, ownKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it uses auth.key_file
	}
	if err != nil {
		return err
	}
	return writePrivate(filepath.Join(dir, ownKeyFile), text)
}
