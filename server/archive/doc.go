// Package archive keeps copies of the cluster's state in a destination: it ties
// backups (package snapshot) to the replica that they are taken from and to the
// claim that lets one node work on them at a time.
//
// It promises that a backup which Run returned is whole in the destination, and
// that nothing is deleted which the retention, a hold or the newest good backup
// keeps. It does not know the admin API or the configuration file.
package archive
