package main

import (
	"fmt"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/server/archive"
	"github.com/mcpraft/mcpraft/snapshot"
)

// backupOptions opens the destination of backups, which sends nothing yet, and
// reads the keys.
func backupOptions(c *config.Backup) (o archive.Options, err error) {
	r := c.Retention
	o.Retention = snapshot.Retention{
		Days: r.Days, Last: r.Last, Hourly: r.Hourly, Daily: r.Daily, Weekly: r.Weekly, Monthly: r.Monthly, MinKeep: r.MinKeep,
	}
	if o.Schedule, err = c.Times(); err != nil || c.Destination.Type == "none" {
		return o, err
	}
	if o.Policy, err = backupPolicy(c); err != nil {
		return o, fmt.Errorf("backup.encryption: %w", err)
	}
	if o.Store, err = openDestination(&c.Destination); err != nil {
		return o, fmt.Errorf("backup.destination: %w", err)
	}
	return o, nil
}

func backupPolicy(c *config.Backup) (p seal.Policy, err error) {
	if p.Compression, err = seal.ParseCompression(c.Compression); err != nil {
		return p, err
	}
	if p.Cipher, err = seal.ParseCipher(c.Encryption.Cipher); err != nil {
		return p, err
	}
	if p.Ring, err = seal.LoadRing(c.Encryption.KeyFiles...); err != nil {
		return p, err
	}
	return p, p.Validate()
}

func openDestination(d *config.Destination) (blob.Store, error) {
	if d.Type == "local" {
		return blob.OpenFolder(d.Path, nil)
	}
	s := d.S3
	options := blob.S3Options{
		Endpoint: s.Endpoint, Region: s.Region, Bucket: s.Bucket, Prefix: s.Prefix,
		CAFile: s.CAFile, AccessKeyFile: s.AccessKeyFile, SecretKeyFile: s.SecretKeyFile,
	}
	if s.PathStyle != "auto" {
		options.PathStyle = new(s.PathStyle == "on")
	}
	return blob.OpenS3(options)
}
