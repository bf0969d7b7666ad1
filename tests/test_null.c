// Each public function with NULL for each pointer in turn, but cx: an error, or nothing done. What crashes is
// listed (the last number of a row: bit n is pointer n), so that no other does, and none is listed in vain:
// the result tells nothing there (void, bool, a count), or a branch would be paid for by every use.
// The other pointers lead to zeros, which is what most structs begin with; what is opaque is not made of zeros,
// so where these crash a call too, NULL for all of its pointers has to crash as well to count.
// And a wait that cannot begin takes of the task's budget as any other: a loop around it that goes on whatever it
// is told lets others run.
#ifdef __clang__   // not optimised: a read through NULL whose value nobody uses would not be there to crash
#pragma clang optimize off
#else
#pragma GCC optimize("O0")
#endif
#define CRT_ALLOW_BARE_POLLS
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static crt_poll unit_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    return 0;
}
#define CALLS(X) \
    X(crt_wake, 1, 1, p[0]) \
    X(crt_wake_by_ref, 1, 1, p[0]) \
    X(crt_waker_drop, 1, 0, p[0]) \
    X(crt_waker_will_wake, 1, 1, p[0], cx) \
    X(crt_runtime_new, 2, 0, p[0], p[1]) \
    X(crt_block_on, 2, 0, p[0], unit_run, p[1]) \
    X(crt_runtime_shutdown, 1, 0, p[0], 1) \
    X(crt_runtime_drop, 1, 0, p[0]) \
    X(crt_runtime_turn, 1, 0, p[0], 1) \
    X(crt_runtime_poll_fd, 1, 0, p[0]) \
    X(crt_runtime_next_deadline, 1, 0, p[0]) \
    X(crt_runtime_config, 1, 0, p[0]) \
    X(crt_runtime_handle, 1, 0, p[0]) \
    X(crt_handle_clone, 1, 0, p[0]) \
    X(crt_handle_drop, 1, 0, p[0]) \
    X(crt_handle_block_on, 2, 0, p[0], unit_run, p[1]) \
    X(crt_args, 1, 0, p[0]) \
    X(crt_task_storage_busy, 1, 1, p[0]) \
    X(crt_spawn_ex, 1, 0, cx, p[0]) \
    X(crt_join, 2, 0, cx, p[0], p[1]) \
    X(crt_join_blocking, 2, 0, p[0], p[1]) \
    X(crt_abort, 1, 0, p[0]) \
    X(crt_is_finished, 1, 0, p[0]) \
    X(crt_detach, 1, 0, p[0]) \
    X(crt_join_panic_message, 1, 0, p[0]) \
    X(crt_join_id, 1, 0, p[0]) \
    X(crt_join_abort_handle, 1, 0, p[0]) \
    X(crt_abort_handle_clone, 1, 0, p[0]) \
    X(crt_abort_handle_abort, 1, 0, p[0]) \
    X(crt_abort_handle_is_finished, 1, 0, p[0]) \
    X(crt_abort_handle_id, 1, 0, p[0]) \
    X(crt_abort_handle_drop, 1, 0, p[0]) \
    X(crt_spawn_blocking, 2, 0, cx, p[0], 0, p[1]) \
    X(crt_handle_spawn_blocking, 3, 0, p[0], p[1], 0, p[2]) \
    X(crt_block_in_place, 1, 0, cx, 0, p[0]) \
    X(crt_timer_reset, 1, 1, cx, p[0], 1) \
    X(crt_timer_reset_at, 1, 1, cx, p[0], 1) \
    X(crt_timer_stop, 1, 1, p[0]) \
    X(crt_timer_wait, 1, 1, cx, p[0]) \
    X(crt_timer_is_elapsed, 1, 1, cx, p[0]) \
    X(crt_interval_init, 1, 1, p[0], 1, CRT_BURST) \
    X(crt_interval_tick, 1, 0, cx, p[0]) \
    X(crt_interval_reset, 1, 1, cx, p[0]) \
    X(crt_delay_insert, 2, 0, cx, p[0], p[1], 1) \
    X(crt_delay_insert_at, 2, 0, cx, p[0], p[1], 1) \
    X(crt_delay_remove, 2, 3, p[0], p[1]) \
    X(crt_delay_reset, 2, 0, cx, p[0], p[1], 1) \
    X(crt_delay_reset_at, 2, 0, cx, p[0], p[1], 1) \
    X(crt_delay_next, 2, 0, cx, p[0], p[1]) \
    X(crt_delay_peek, 1, 1, p[0]) \
    X(crt_delay_len, 1, 1, p[0]) \
    X(crt_delay_queue_clear, 1, 1, p[0]) \
    X(crt_delay_queue_drop, 1, 0, p[0]) \
    X(crt_time_pause, 1, 0, p[0]) \
    X(crt_time_resume, 1, 0, p[0]) \
    X(crt_time_advance, 1, 0, p[0], 1) \
    X(crt_scope_cancel, 1, 1, p[0]) \
    X(crt_scope_len, 1, 1, p[0]) \
    X(crt_join_set_spawn_blocking, 2, 0, cx, p[0], 0, p[1]) \
    X(crt_join_set_next, 2, 0, cx, p[0], p[1]) \
    X(crt_join_set_next_with_id, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_join_set_try_next, 3, 0, p[0], p[1], p[2]) \
    X(crt_join_set_panic_message, 1, 1, p[0]) \
    X(crt_join_set_len, 1, 1, p[0]) \
    X(crt_join_set_abort_all, 1, 1, p[0]) \
    X(crt_join_set_detach_all, 1, 1, p[0]) \
    X(crt_join_set_shutdown, 1, 0, cx, p[0]) \
    X(crt_join_set_drop, 1, 0, p[0]) \
    X(crt_join_map_next, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_join_map_try_next, 3, 0, p[0], p[1], p[2]) \
    X(crt_join_map_panic_message, 1, 1, p[0]) \
    X(crt_join_map_abort, 1, 1, p[0], 1) \
    X(crt_join_map_contains, 1, 1, p[0], 1) \
    X(crt_join_map_len, 1, 1, p[0]) \
    X(crt_join_map_abort_all, 1, 1, p[0]) \
    X(crt_join_map_abort_matching, 2, 1, p[0], 0, p[1]) \
    X(crt_join_map_shutdown, 1, 0, cx, p[0]) \
    X(crt_join_map_detach_all, 1, 1, p[0]) \
    X(crt_join_map_drop, 1, 0, p[0]) \
    X(crt_task_tracker_clone, 1, 0, p[0]) \
    X(crt_task_tracker_drop, 1, 0, p[0]) \
    X(crt_task_tracker_enter, 1, 1, p[0]) \
    X(crt_task_tracker_leave, 1, 1, p[0]) \
    X(crt_task_tracker_close, 1, 1, p[0]) \
    X(crt_task_tracker_reopen, 1, 1, p[0]) \
    X(crt_task_tracker_is_closed, 1, 1, p[0]) \
    X(crt_task_tracker_len, 1, 1, p[0]) \
    X(crt_task_tracker_wait, 1, 0, cx, p[0]) \
    X(crt_local_set_join, 1, 0, cx, p[0]) \
    X(crt_local_set_abort_all, 1, 1, p[0]) \
    X(crt_task_local_get, 1, 0, cx, p[0]) \
    X(crt_task_local_set, 2, 0, cx, p[0], p[1], 0) \
    X(crt_notified, 1, 1, cx, p[0]) \
    X(crt_notify_one, 1, 1, p[0]) \
    X(crt_notify_last, 1, 1, p[0]) \
    X(crt_notify_waiters, 1, 1, p[0]) \
    X(crt_notify_snapshot, 1, 1, p[0]) \
    X(crt_notified_since, 1, 1, cx, p[0], 1) \
    X(crt_notified_blocking, 1, 0, p[0]) \
    X(crt_semaphore_init, 1, 1, p[0], 1) \
    X(crt_semaphore_acquire, 1, 1, cx, p[0], 1) \
    X(crt_semaphore_try_acquire, 1, 1, p[0], 1) \
    X(crt_semaphore_blocking_acquire, 1, 0, p[0], 1) \
    X(crt_semaphore_release, 1, 1, p[0], 1) \
    X(crt_semaphore_forget, 1, 1, p[0], 1) \
    X(crt_semaphore_close, 1, 1, p[0]) \
    X(crt_semaphore_is_closed, 1, 1, p[0]) \
    X(crt_semaphore_available, 1, 1, p[0]) \
    X(crt_mutex_lock, 1, 1, cx, p[0]) \
    X(crt_mutex_try_lock, 1, 1, p[0]) \
    X(crt_mutex_blocking_lock, 1, 0, p[0]) \
    X(crt_mutex_unlock, 1, 1, p[0]) \
    X(crt_rwlock_read, 1, 1, cx, p[0]) \
    X(crt_rwlock_write, 1, 1, cx, p[0]) \
    X(crt_rwlock_try_read, 1, 1, p[0]) \
    X(crt_rwlock_try_write, 1, 1, p[0]) \
    X(crt_rwlock_blocking_read, 1, 0, p[0]) \
    X(crt_rwlock_blocking_write, 1, 0, p[0]) \
    X(crt_rwlock_unlock_read, 1, 1, p[0]) \
    X(crt_rwlock_unlock_write, 1, 1, p[0]) \
    X(crt_rwlock_downgrade, 1, 1, p[0]) \
    X(crt_barrier_init, 1, 1, p[0], 1) \
    X(crt_barrier_wait, 1, 1, cx, p[0]) \
    X(crt_once_cell_wait, 1, 1, cx, p[0]) \
    X(crt_once_cell_is_set, 1, 1, p[0]) \
    X(crt_cancel_token_clone, 1, 0, p[0]) \
    X(crt_cancel_token_child, 1, 0, p[0]) \
    X(crt_cancel_token_drop, 1, 0, p[0]) \
    X(crt_cancel_token_cancel, 1, 0, p[0]) \
    X(crt_cancel_token_is_cancelled, 1, 0, p[0]) \
    X(crt_cancelled, 1, 0, cx, p[0]) \
    X(crt_cancel_token_drop_guard, 1, 0, p[0]) \
    X(crt_oneshot_new, 2, 0, 1, p[0], p[1]) \
    X(crt_oneshot_send, 2, 0, p[0], p[1]) \
    X(crt_oneshot_recv, 2, 0, cx, p[0], p[1]) \
    X(crt_oneshot_try_recv, 2, 0, p[0], p[1]) \
    X(crt_oneshot_blocking_recv, 2, 0, p[0], p[1]) \
    X(crt_oneshot_rx_close, 1, 0, p[0]) \
    X(crt_oneshot_closed, 1, 0, cx, p[0]) \
    X(crt_oneshot_is_closed, 1, 1, p[0]) \
    X(crt_oneshot_tx_drop, 1, 0, p[0]) \
    X(crt_oneshot_rx_drop, 1, 0, p[0]) \
    X(crt_oneshot_on_drop, 2, 1, p[0], 0, p[1]) \
    X(crt_mpsc_new, 2, 0, 1, 1, p[0], p[1]) \
    X(crt_mpsc_send, 2, 0, cx, p[0], p[1]) \
    X(crt_mpsc_try_send, 2, 0, p[0], p[1]) \
    X(crt_mpsc_reserve, 1, 0, cx, p[0]) \
    X(crt_mpsc_try_reserve, 1, 0, p[0]) \
    X(crt_mpsc_reserve_many, 1, 0, cx, p[0], 1) \
    X(crt_mpsc_try_reserve_many, 1, 0, p[0], 1) \
    X(crt_mpsc_send_reserved, 2, 0, p[0], p[1]) \
    X(crt_mpsc_unreserve, 1, 0, p[0]) \
    X(crt_mpsc_recv, 2, 0, cx, p[0], p[1]) \
    X(crt_mpsc_try_recv, 2, 0, p[0], p[1]) \
    X(crt_mpsc_recv_many, 2, 0, cx, p[0], p[1], 1) \
    X(crt_mpsc_blocking_send, 2, 0, p[0], p[1]) \
    X(crt_mpsc_blocking_recv, 2, 0, p[0], p[1]) \
    X(crt_mpsc_blocking_recv_many, 2, 0, p[0], p[1], 1) \
    X(crt_mpsc_tx_clone, 1, 0, p[0]) \
    X(crt_mpsc_tx_drop, 1, 0, p[0]) \
    X(crt_mpsc_rx_close, 1, 0, p[0]) \
    X(crt_mpsc_rx_drop, 1, 0, p[0]) \
    X(crt_mpsc_closed, 1, 0, cx, p[0]) \
    X(crt_mpsc_is_closed, 1, 1, p[0]) \
    X(crt_mpsc_rx_is_closed, 1, 1, p[0]) \
    X(crt_mpsc_len, 1, 1, p[0]) \
    X(crt_mpsc_capacity, 1, 1, p[0]) \
    X(crt_mpsc_max_capacity, 1, 1, p[0]) \
    X(crt_mpsc_sender_count, 1, 1, p[0]) \
    X(crt_mpsc_weak_count, 1, 1, p[0]) \
    X(crt_mpsc_same_channel, 2, 0, p[0], p[1]) \
    X(crt_mpsc_tx_downgrade, 1, 0, p[0]) \
    X(crt_mpsc_weak_tx_upgrade, 1, 0, p[0]) \
    X(crt_mpsc_weak_tx_clone, 1, 0, p[0]) \
    X(crt_mpsc_weak_tx_drop, 1, 0, p[0]) \
    X(crt_mpsc_on_drop, 2, 1, p[0], 0, p[1]) \
    X(crt_broadcast_new, 1, 0, 1, 1, p[0]) \
    X(crt_broadcast_subscribe, 2, 0, p[0], p[1]) \
    X(crt_broadcast_resubscribe, 2, 0, p[0], p[1]) \
    X(crt_broadcast_send, 2, 0, p[0], p[1]) \
    X(crt_broadcast_recv, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_broadcast_try_recv, 3, 0, p[0], p[1], p[2]) \
    X(crt_broadcast_blocking_recv, 3, 0, p[0], p[1], p[2]) \
    X(crt_broadcast_closed, 1, 0, cx, p[0]) \
    X(crt_broadcast_receiver_count, 1, 1, p[0]) \
    X(crt_broadcast_sender_count, 1, 1, p[0]) \
    X(crt_broadcast_len, 1, 1, p[0]) \
    X(crt_broadcast_rx_len, 1, 1, p[0]) \
    X(crt_broadcast_same_channel, 2, 0, p[0], p[1]) \
    X(crt_broadcast_tx_clone, 1, 0, p[0]) \
    X(crt_broadcast_tx_drop, 1, 0, p[0]) \
    X(crt_broadcast_rx_drop, 1, 0, p[0]) \
    X(crt_broadcast_tx_downgrade, 1, 0, p[0]) \
    X(crt_broadcast_weak_tx_upgrade, 1, 0, p[0]) \
    X(crt_broadcast_weak_tx_drop, 1, 0, p[0]) \
    X(crt_broadcast_set_ops, 2, 3, p[0], p[1]) \
    X(crt_watch_new, 3, 0, 1, p[0], p[1], p[2]) \
    X(crt_watch_subscribe, 2, 0, p[0], p[1]) \
    X(crt_watch_rx_clone, 2, 0, p[0], p[1]) \
    X(crt_watch_send, 2, 0, p[0], p[1]) \
    X(crt_watch_send_replace, 3, 0, p[0], p[1], p[2]) \
    X(crt_watch_send_modify, 2, 0, p[0], 0, p[1]) \
    X(crt_watch_send_if_modified, 2, 0, p[0], 0, p[1]) \
    X(crt_watch_changed, 1, 0, cx, p[0]) \
    X(crt_watch_wait_for, 3, 0, cx, p[0], 0, p[1], p[2]) \
    X(crt_watch_get, 2, 3, p[0], p[1]) \
    X(crt_watch_get_update, 2, 3, p[0], p[1]) \
    X(crt_watch_tx_get, 2, 1, p[0], p[1]) \
    X(crt_watch_has_changed, 1, 1, p[0]) \
    X(crt_watch_mark_changed, 1, 1, p[0]) \
    X(crt_watch_mark_unchanged, 1, 1, p[0]) \
    X(crt_watch_closed, 1, 0, cx, p[0]) \
    X(crt_watch_receiver_count, 1, 1, p[0]) \
    X(crt_watch_sender_count, 1, 1, p[0]) \
    X(crt_watch_rx_is_closed, 1, 1, p[0]) \
    X(crt_watch_same_channel, 2, 3, p[0], p[1]) \
    X(crt_watch_tx_clone, 1, 0, p[0]) \
    X(crt_watch_tx_drop, 1, 0, p[0]) \
    X(crt_watch_rx_drop, 1, 0, p[0]) \
    X(crt_watch_set_ops, 2, 3, p[0], p[1]) \
    X(crt_addr_parse, 2, 0, p[0], p[1]) \
    X(crt_addr_unix, 2, 0, p[0], p[1]) \
    X(crt_addr_format, 2, 0, p[0], p[1], 1) \
    X(crt_addr_port, 1, 1, p[0]) \
    X(crt_addr_is_ipv6, 1, 1, p[0]) \
    X(crt_addr_is_unix, 1, 1, p[0]) \
    X(crt_addr_equal, 2, 3, p[0], p[1]) \
    X(crt_addr_from_sockaddr, 2, 0, p[0], p[1], 1) \
    X(crt_addr_sockaddr, 2, 1, p[0], p[1]) \
    X(crt_tcp_listen, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_accept, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_try_accept, 3, 0, p[0], p[1], p[2]) \
    X(crt_tcp_connect, 2, 0, cx, p[0], p[1]) \
    X(crt_tcp_connect_ex, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_unix_listen, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_unix_connect, 2, 0, cx, p[0], p[1]) \
    X(crt_unix_peer_cred, 2, 0, p[0], p[1]) \
    X(crt_resolve, 2, 0, cx, p[0], p[1], 1) \
    X(crt_stream_pair, 2, 0, cx, p[0], p[1]) \
    X(crt_pipe, 2, 0, cx, p[0], p[1]) \
    X(crt_stream_from_fd, 1, 0, cx, 1, 1, p[0]) \
    X(crt_listener_from_fd, 1, 0, cx, 1, 1, p[0]) \
    X(crt_udp_from_fd, 1, 0, cx, 1, 1, p[0]) \
    X(crt_stream_into_fd, 1, 0, p[0]) \
    X(crt_listener_into_fd, 1, 0, p[0]) \
    X(crt_udp_into_fd, 1, 0, p[0]) \
    X(crt_read, 2, 0, cx, p[0], p[1], 1) \
    X(crt_read_exact, 2, 0, cx, p[0], p[1], 1) \
    X(crt_peek, 2, 0, cx, p[0], p[1], 1) \
    X(crt_write, 2, 0, cx, p[0], p[1], 1) \
    X(crt_write_all, 2, 0, cx, p[0], p[1], 1) \
    X(crt_readv, 2, 0, cx, p[0], p[1], 1) \
    X(crt_writev, 2, 0, cx, p[0], p[1], 1) \
    X(crt_writev_all, 2, 0, cx, p[0], p[1], 1) \
    X(crt_readable, 1, 0, cx, p[0]) \
    X(crt_writable, 1, 0, cx, p[0]) \
    X(crt_try_read, 2, 0, p[0], p[1], 1) \
    X(crt_try_write, 2, 0, p[0], p[1], 1) \
    X(crt_try_peek, 2, 0, p[0], p[1], 1) \
    X(crt_try_readv, 2, 0, p[0], p[1], 1) \
    X(crt_try_writev, 2, 0, p[0], p[1], 1) \
    X(crt_shutdown, 1, 0, cx, p[0]) \
    X(crt_shutdown_read, 1, 0, cx, p[0]) \
    X(crt_stream_clone, 1, 0, p[0]) \
    X(crt_stream_fd, 1, 0, p[0]) \
    X(crt_stream_set_nodelay, 1, 0, p[0], 1) \
    X(crt_stream_get_nodelay, 1, 0, p[0]) \
    X(crt_stream_set_keepalive, 1, 0, p[0], 1) \
    X(crt_stream_set_keepalive_ex, 2, 0, p[0], p[1]) \
    X(crt_stream_get_keepalive, 2, 0, p[0], p[1]) \
    X(crt_stream_set_linger, 1, 0, p[0], 1) \
    X(crt_stream_get_linger, 2, 0, p[0], p[1]) \
    X(crt_stream_set_recv_buffer, 1, 0, p[0], 1) \
    X(crt_stream_get_recv_buffer, 1, 0, p[0]) \
    X(crt_stream_set_send_buffer, 1, 0, p[0], 1) \
    X(crt_stream_get_send_buffer, 1, 0, p[0]) \
    X(crt_stream_set_ttl, 1, 0, p[0], 1) \
    X(crt_stream_get_ttl, 1, 0, p[0]) \
    X(crt_stream_set_tos, 1, 0, p[0], 1) \
    X(crt_stream_get_tos, 1, 0, p[0]) \
    X(crt_stream_set_quickack, 1, 0, p[0], 1) \
    X(crt_stream_get_quickack, 1, 0, p[0]) \
    X(crt_stream_take_error, 1, 0, p[0]) \
    X(crt_stream_peer_addr, 2, 0, p[0], p[1]) \
    X(crt_stream_local_addr, 2, 0, p[0], p[1]) \
    X(crt_listener_fd, 1, 0, p[0]) \
    X(crt_listener_set_ttl, 1, 0, p[0], 1) \
    X(crt_listener_get_ttl, 1, 0, p[0]) \
    X(crt_listener_set_backlog, 1, 0, p[0], 1) \
    X(crt_listener_get_v6only, 1, 0, p[0]) \
    X(crt_listener_take_error, 1, 0, p[0]) \
    X(crt_listener_local_addr, 2, 0, p[0], p[1]) \
    X(crt_stream_close, 1, 0, p[0]) \
    X(crt_listener_close, 1, 0, p[0]) \
    X(crt_udp_bind, 2, 0, cx, p[0], p[1]) \
    X(crt_udp_bind_ex, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_unix_dgram_bind, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_unix_dgram_connect, 2, 0, cx, p[0], p[1]) \
    X(crt_unix_dgram_pair, 2, 0, cx, p[0], p[1]) \
    X(crt_udp_connect, 2, 0, cx, p[0], p[1]) \
    X(crt_udp_disconnect, 1, 0, p[0]) \
    X(crt_udp_send_to, 3, 0, cx, p[0], p[1], 1, p[2]) \
    X(crt_udp_recv_from, 3, 0, cx, p[0], p[1], 1, p[2]) \
    X(crt_udp_send, 2, 0, cx, p[0], p[1], 1) \
    X(crt_udp_recv, 2, 0, cx, p[0], p[1], 1) \
    X(crt_udp_peek_from, 3, 0, cx, p[0], p[1], 1, p[2]) \
    X(crt_udp_recv_many, 2, 0, cx, p[0], p[1], 1) \
    X(crt_udp_send_many, 2, 0, cx, p[0], p[1], 1) \
    X(crt_udp_readable, 1, 0, cx, p[0]) \
    X(crt_udp_writable, 1, 0, cx, p[0]) \
    X(crt_udp_try_send_to, 3, 0, p[0], p[1], 1, p[2]) \
    X(crt_udp_try_recv_from, 3, 0, p[0], p[1], 1, p[2]) \
    X(crt_udp_try_recv_many, 2, 0, p[0], p[1], 1) \
    X(crt_udp_try_send_many, 2, 0, p[0], p[1], 1) \
    X(crt_udp_fd, 1, 0, p[0]) \
    X(crt_udp_set_broadcast, 1, 0, p[0], 1) \
    X(crt_udp_get_broadcast, 1, 0, p[0]) \
    X(crt_udp_set_recv_buffer, 1, 0, p[0], 1) \
    X(crt_udp_get_recv_buffer, 1, 0, p[0]) \
    X(crt_udp_set_send_buffer, 1, 0, p[0], 1) \
    X(crt_udp_get_send_buffer, 1, 0, p[0]) \
    X(crt_udp_set_ttl, 1, 0, p[0], 1) \
    X(crt_udp_get_ttl, 1, 0, p[0]) \
    X(crt_udp_set_tos, 1, 0, p[0], 1) \
    X(crt_udp_get_tos, 1, 0, p[0]) \
    X(crt_udp_take_error, 1, 0, p[0]) \
    X(crt_udp_join, 2, 0, p[0], p[1], 1) \
    X(crt_udp_leave, 2, 0, p[0], p[1], 1) \
    X(crt_udp_set_multicast_loop, 1, 0, p[0], 1) \
    X(crt_udp_get_multicast_loop, 1, 0, p[0]) \
    X(crt_udp_set_multicast_ttl, 1, 0, p[0], 1) \
    X(crt_udp_get_multicast_ttl, 1, 0, p[0]) \
    X(crt_udp_set_multicast_interface, 1, 0, p[0], 1) \
    X(crt_udp_local_addr, 2, 0, p[0], p[1]) \
    X(crt_udp_peer_addr, 2, 0, p[0], p[1]) \
    X(crt_udp_close, 1, 0, p[0]) \
    X(crt_duplex, 2, 0, cx, 1, p[0], p[1]) \
    X(crt_mock_new, 3, 0, cx, p[0], p[1], 1, p[2]) \
    X(crt_mock_left, 1, 0, p[0]) \
    X(crt_stdin, 1, 0, cx, p[0]) \
    X(crt_stdout, 1, 0, cx, p[0]) \
    X(crt_stderr, 1, 0, cx, p[0]) \
    X(crt_flush, 1, 0, cx, p[0]) \
    X(crt_reader_init, 3, 1, p[0], p[1], p[2], 1) \
    X(crt_reader_drop, 1, 0, p[0]) \
    X(crt_reader_data, 1, 1, p[0]) \
    X(crt_reader_buffered, 1, 1, p[0]) \
    X(crt_reader_consume, 1, 1, p[0], 1) \
    X(crt_reader_fill, 1, 0, cx, p[0], 1) \
    X(crt_reader_read, 2, 0, cx, p[0], p[1], 1) \
    X(crt_reader_read_exact, 2, 0, cx, p[0], p[1], 1) \
    X(crt_reader_read_until, 2, 0, cx, p[0], 1, 1, p[1]) \
    X(crt_reader_read_line, 2, 0, cx, p[0], 1, p[1]) \
    X(crt_reader_skip_until, 1, 0, cx, p[0], 1) \
    X(crt_writer_init, 3, 1, p[0], p[1], p[2], 1) \
    X(crt_writer_drop, 1, 0, p[0]) \
    X(crt_writer_buffered, 1, 1, p[0]) \
    X(crt_writer_write_all, 2, 0, cx, p[0], p[1], 1) \
    X(crt_writer_flush, 1, 0, cx, p[0]) \
    X(crt_writer_shutdown, 1, 0, cx, p[0]) \
    X(crt_bytes_drop, 1, 0, p[0]) \
    X(crt_read_to_end, 2, 0, cx, p[0], p[1], 1) \
    X(crt_copy, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_copy_bidirectional, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_framed_read, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_framed_write, 3, 0, cx, p[0], p[1], p[2], 1) \
    X(crt_fs_open, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_file_read, 2, 0, cx, p[0], p[1], 1) \
    X(crt_file_read_exact, 2, 0, cx, p[0], p[1], 1) \
    X(crt_file_write, 2, 0, cx, p[0], p[1], 1) \
    X(crt_file_write_all, 2, 0, cx, p[0], p[1], 1) \
    X(crt_file_pread, 2, 0, cx, p[0], p[1], 1, 1) \
    X(crt_file_pread_exact, 2, 0, cx, p[0], p[1], 1, 1) \
    X(crt_file_pwrite, 2, 0, cx, p[0], p[1], 1, 1) \
    X(crt_file_pwrite_all, 2, 0, cx, p[0], p[1], 1, 1) \
    X(crt_file_seek, 2, 0, cx, p[0], 1, 1, p[1]) \
    X(crt_file_sync, 1, 0, cx, p[0]) \
    X(crt_file_sync_data, 1, 0, cx, p[0]) \
    X(crt_file_set_len, 1, 0, cx, p[0], 1) \
    X(crt_file_set_mode, 1, 0, cx, p[0], 1) \
    X(crt_file_fd, 1, 0, p[0]) \
    X(crt_file_close, 1, 0, p[0]) \
    X(crt_file_metadata, 2, 0, cx, p[0], p[1]) \
    X(crt_fs_metadata, 2, 0, cx, p[0], p[1]) \
    X(crt_fs_lstat, 2, 0, cx, p[0], p[1]) \
    X(crt_fs_exists, 1, 0, cx, p[0]) \
    X(crt_fs_create_dir, 1, 0, cx, p[0], 1) \
    X(crt_fs_create_dir_all, 1, 0, cx, p[0], 1) \
    X(crt_fs_remove_file, 1, 0, cx, p[0]) \
    X(crt_fs_remove_dir, 1, 0, cx, p[0]) \
    X(crt_fs_remove_dir_all, 1, 0, cx, p[0]) \
    X(crt_fs_rename, 2, 0, cx, p[0], p[1]) \
    X(crt_fs_copy, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_fs_hard_link, 2, 0, cx, p[0], p[1]) \
    X(crt_fs_symlink, 2, 0, cx, p[0], p[1]) \
    X(crt_fs_set_mode, 1, 0, cx, p[0], 1) \
    X(crt_fs_read_link, 2, 0, cx, p[0], p[1]) \
    X(crt_fs_canonicalize, 2, 0, cx, p[0], p[1]) \
    X(crt_fs_temp_file, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_fs_temp_dir, 2, 0, cx, p[0], p[1]) \
    X(crt_fs_read_dir, 2, 0, cx, p[0], p[1]) \
    X(crt_dir_next, 2, 0, cx, p[0], p[1]) \
    X(crt_dir_close, 1, 0, p[0]) \
    X(crt_fs_read_file, 3, 0, cx, p[0], p[1], p[2]) \
    X(crt_fs_read_file_max, 3, 0, cx, p[0], 1, p[1], p[2]) \
    X(crt_fs_write_file, 2, 0, cx, p[0], p[1], 1) \
    X(crt_free, 1, 0, p[0]) \
    X(crt_process_spawn, 2, 0, cx, p[0], p[1]) \
    X(crt_exit_ok, 1, 1, p[0]) \
    X(crt_process_wait, 2, 0, cx, p[0], p[1]) \
    X(crt_process_try_wait, 2, 0, p[0], p[1]) \
    X(crt_process_kill, 1, 0, p[0]) \
    X(crt_process_signal, 1, 0, p[0], 1) \
    X(crt_process_signal_group, 1, 0, p[0], 1) \
    X(crt_process_id, 1, 0, p[0]) \
    X(crt_process_take_stdin, 1, 0, p[0]) \
    X(crt_process_take_stdout, 1, 0, p[0]) \
    X(crt_process_take_stderr, 1, 0, p[0]) \
    X(crt_process_close, 1, 0, p[0]) \
    X(crt_process_output, 2, 0, cx, p[0], p[1]) \
    X(crt_output_free, 1, 0, p[0]) \
    X(crt_metrics, 2, 0, p[0], p[1]) \
    X(crt_metrics_worker, 2, 0, p[0], 1, p[1]) \
    X(crt_dump, 2, 0, p[0], p[1])
#define FUNCTION(name, count, crashes, ...) \
    static void call_##name(crt_cx *cx, void **p) { (void)cx, (void)p, (void)name(__VA_ARGS__); }
CALLS(FUNCTION)
// A wait: it gives a crt_poll, and is handed cx first.
#define WAITS(name, count, crashes, ...) \
    static bool waits_##name(crt_cx *cx, void **p) \
    { \
        (void)cx, (void)p; \
        return _Generic((name(__VA_ARGS__)), crt_poll : !strncmp(#__VA_ARGS__, "cx", 2), default : false); \
    }
CALLS(WAITS)
#define ROW(name, count, crashes, ...) {#name, count, crashes, waits_##name, call_##name},
static const struct {
    const char *name;
    int count, crashes;
    bool (*waits)(crt_cx *, void **);
    void (*call)(crt_cx *, void **);
} calls[] = {CALLS(ROW)};

enum { POINTERS = 8 };
static _Alignas(64) char zeros[POINTERS][65536];
static int call, nulls;
static crt_poll call_run(void *frame, crt_cx *cx)
{
    void *p[POINTERS];
    (void)frame;
    for (int i = 0; i < POINTERS; i++) p[i] = nulls >> i & 1 ? NULL : zeros[i];
    calls[call].call(cx, p);
    _exit(0);
}
// In a child. A sanitizer ends it with a status of its own. Who waits for ever did not crash.
static bool crashes(int which, int mask)
{
    int status = 0;
    call = which, nulls = mask;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        crt_config c = {.flavor = CRT_CURRENT_THREAD};
        crt_runtime *rt;
        signal(SIGALRM, SIG_DFL);
        alarm(test_patience(1));
        close(0);
        close(2);
        if (crt_runtime_new(&c, &rt)) _exit(2);
        crt_block_on(rt, call_run, NULL);
        _exit(0);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFSIGNALED(status) ? WTERMSIG(status) != SIGALRM : WEXITSTATUS(status) != 0;
}
static void null_for_each_pointer(void)
{
    for (int i = 0; i < (int)(sizeof calls / sizeof *calls); i++) {
        int found = 0;
        if (i % 16 == 0) test__set_alarm(test_patience(60));
        for (int k = 0; k < calls[i].count; k++)
            if (crashes(i, 1 << k) && (!crashes(i, 0) || crashes(i, (1 << calls[i].count) - 1))) found |= 1 << k;
        if (found != calls[i].crashes) fprintf(stderr, "%s:\n", calls[i].name);
        CHECK_EQ(found, calls[i].crashes);
    }
}
static int loops, stuck;   // waits that were tried, and those that used no budget up
static crt_poll loops_run(void *frame, crt_cx *cx)
{
    void *p[POINTERS] = {NULL};
    for (int *which = frame; *which < (int)(sizeof calls / sizeof *calls); ++*which) {
        const char *name = calls[*which].name;
        if (calls[*which].crashes || !calls[*which].waits(cx, p) || !strcmp(name, "crt_block_in_place")) continue;
        loops++;
        for (int i = 0; i < 200 && !cx->deferred; i++) calls[*which].call(cx, p);
        if (cx->deferred) return ++*which, CRT_PENDING;
        fprintf(stderr, "%s\n", name);
        stuck++;
    }
    return 0;
}
static void no_refusal_holds_the_thread(void)
{
    int which = 0;
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .log.func = test_log};
    crt_runtime *rt;
    if (sizeof(crt_poll) == sizeof(int)) return;   // a wait is not told from other functions there
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    CHECK_EQ(crt_block_on(rt, loops_run, &which), 0);
    CHECK_EQ(stuck, 0);
    CHECK(loops > 90);
    crt_runtime_drop(&rt);
}
int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(null_for_each_pointer);
    TEST(no_refusal_holds_the_thread);
    return test_end();
}
