/* Completions of a ring that are told of by one vector: who completes rings only where the vector's bit was not set (note 0008, section 10; `Sender::tells_more`).
 *
 * Shown: whatever completes is seen by a look of the handler's behind it.
 *
 * Two complete, a third sends the same vector as programs do: it rings whatever the bit was. The steps are one shared access each; memory is sequentially consistent.
 *
 * mutant LOOKS_FIRST      the handler looks at what has completed, then clears the bit
 * mutant SETS_FIRST       the bit is set before there is something to be seen
 * mutant RINGS_FIRST      the ring comes before the bit
 */
byte completed          /* so many have */
bool bit_set
bool rung
byte seen               /* the handler has seen so many */
byte left = 3           /* of the senders */

active proctype Receiver() {
    bool had;
    do
    :: atomic { rung -> rung = false };
#ifdef LOOKS_FIRST
       seen = completed;
       atomic { had = bit_set; bit_set = false }
#else
       atomic { had = bit_set; bit_set = false };
       if :: had -> seen = completed :: else fi
#endif
    :: atomic { left == 0 && !rung -> break }
    od;
    assert(seen == completed)
}

active [2] proctype Completes() {
    bool was;
#ifdef SETS_FIRST
    atomic { was = bit_set; bit_set = true };
    completed++;
    if :: !was -> rung = true :: else fi;
#else
    completed++;
#ifdef RINGS_FIRST
    if :: !bit_set -> rung = true :: else fi;
    bit_set = true;
#else
    atomic { was = bit_set; bit_set = true };
    if :: !was -> rung = true :: else fi;
#endif
#endif
    left--
}

active proctype Sends() {
    bit_set = true;
    rung = true;
    left--
}
