// Package seal protects bytes that leave the node: objects of an archive, which
// may be of any size, and small secrets that rest in the replicated state. It is
// the one home of AEAD ciphers, and invents none: what it does is the construction
// of age and Tink with the primitives of the standard library.
//
// # Keys
//
// A [Key] is 32 random bytes with an id that is derived from them. Keys lie in key
// files, one or several in each; a [Ring] is what was read from them. What is
// written is for the newest key of each file, so that a lost file is not lost
// data; what is read may be for any key of the ring. A Key never encrypts data: it
// derives a key for one purpose and one salt, which does.
//
// # Objects
//
// A [Writer] compresses, cuts into chunks and seals each; a [Reader] undoes it.
// The chunks are sealed by a key of this object alone, which the header holds
// wrapped for each recipient. A header authenticator binds everything in the
// header and the object's context, a text that both sides know (what the object
// is, of which cluster, at which place); each chunk binds that authenticator, its
// own number and whether it is the last. A flipped bit, a cut, a swapped or
// repeated chunk, one from another object, an object in another one's place, and
// bytes that follow are errors; memory is constant. Bytes that were read before an
// error verify as a prefix of the object, no more: who needs all of it waits for
// io.EOF.
//
// # Without a cipher
//
// The cipher [None] gives the same format with a SHA-256 over the same bindings in
// place of the authenticator. It finds every accident and no attacker.
//
// # FIPS 140
//
// AES-GCM draws its nonces at random inside the cryptographic module, as
// GODEBUG=fips140=only demands; order and end are bound by additional data instead.
// ChaCha20-Poly1305 is not an approved cipher and refuses to work in that mode.
package seal
