/* A receiver that moves to another place, while another takes its old one away, and a sender whose hart may still know the doorbell (note 0008, section 3).
 *
 * Shown: what is sent is taken in the end: when all is quiet, nothing lies in the word of a thread that runs or waits without having been told.
 *
 * The receiver waits at place 0, goes to place 1, and waits again. Others take either place away, once each. A doorbell leads to a place until it is taken back; what is rung at a
 * place whose owner has left it is gone. `told` is the thread's note, which it takes before it looks at the word.
 *
 * mutant DOES_NOT_LOOK_BEHIND    who takes a place away does not look at the word
 * mutant LOOKS_BEFORE            it looks, and takes the doorbell back then
 * mutant RINGS_FIRST             who sends rings, and sets the word then
 */
#define NOWHERE 2

byte place = 0              /* the receiver's, as the kernel knows it */
byte bell = 0               /* where the sender's hart thinks the doorbell is */
byte owner[3] = 1           /* places whose messages still reach the receiver */
bool word
bool told
byte to_send = 2

active proctype Sender() {
    byte at;
    do
    :: to_send > 0 ->
#ifndef RINGS_FIRST
       word = true;
#endif
       if
       :: atomic { bell != NOWHERE -> at = bell };
          /* The store is on its way before the doorbell is taken back, which waits for it. */
          atomic { if :: owner[at] -> told = true :: else fi }
       :: atomic { bell == NOWHERE };
          /* It traps, and is mapped again or rung for. */
          atomic { told = true; bell = place }
       fi;
#ifdef RINGS_FIRST
       word = true;
#endif
       to_send--
    :: else -> break
    od
}

inline take_back(what) {
    atomic { if :: bell == what -> bell = NOWHERE :: else fi }
}

active proctype Receiver() {
    byte old;
    bool moved;
end:
    do
    :: atomic { told -> told = false };
       word = false
    :: !moved ->
       /* To another hart. */
       moved = true;
       atomic { old = place; place = NOWHERE };
       if
       :: old != NOWHERE ->
          take_back(old);
          atomic { owner[old] = 0 };
          if :: word -> told = true :: else fi
       :: else
       fi;
       atomic { place = 1; owner[1] = 1 }
    od
}

active [2] proctype Other() {
    byte had;
    atomic { had = place; if :: had != NOWHERE -> place = NOWHERE :: else fi };
    if
    :: had != NOWHERE ->
#ifdef LOOKS_BEFORE
       if :: word -> told = true :: else fi;
#endif
       take_back(had);
       owner[had] = 0;
#if !defined(DOES_NOT_LOOK_BEHIND) && !defined(LOOKS_BEFORE)
       if :: word -> told = true :: else fi
#endif
    :: else
    fi
}

/* When nothing moves any more, nothing is left. */
active proctype Quiet() {
    timeout -> assert(!word)
}
